"""The states of runs and of workers, and the moves between them."""

from __future__ import annotations

from typing import Any, get_args
from unittest.mock import Mock

import pytest

from tako_lite.processes.worker import Worker
from tako_lite.states import MOVES, RUN_STATES, TERMINAL, WORKER_MOVES, WORKER_STATES, RunState, WorkerState


def reachable(first: RunState) -> set[RunState]:
    """The states that a run may get into from this one."""
    found: set[RunState] = {first}
    while more := {after for state in found for after in MOVES[state]} - found:
        found |= more
    return found


def test_every_state_is_listed_once() -> None:
    assert get_args(RunState) == RUN_STATES
    assert len(set(RUN_STATES)) == len(RUN_STATES)


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(RUN_STATES)


def test_moves_lead_to_states() -> None:
    assert set().union(*MOVES.values()) <= set(RUN_STATES)


def test_no_state_moves_to_itself() -> None:
    assert not [state for state, after in MOVES.items() if state in after]


def test_every_state_is_reached_from_pending() -> None:
    assert reachable("pending") == set(RUN_STATES)


def test_every_live_run_may_end() -> None:
    live = set(RUN_STATES) - TERMINAL
    assert all(MOVES[state] & TERMINAL for state in live)


def test_success_is_for_ever() -> None:
    assert MOVES["succeeded"] == frozenset()


def test_out_of_the_other_ends_only_a_retry_leads() -> None:
    assert {state: MOVES[state] for state in TERMINAL - {"succeeded"}} == {
        "cancelled": {"pending"},
        "dead": {"pending"},
    }


def test_only_a_running_run_waits_or_succeeds() -> None:
    assert [state for state, after in MOVES.items() if after & {"waiting", "succeeded"}] == ["running"]


def test_every_state_of_a_worker_is_listed_once_and_has_its_moves() -> None:
    assert get_args(WorkerState) == WORKER_STATES
    assert set(WORKER_MOVES) == set(WORKER_STATES)
    assert set().union(*WORKER_MOVES.values()) == set(WORKER_STATES) - {"starting"}


def test_a_worker_may_exit_from_every_state_and_only_once() -> None:
    assert [state for state, after in WORKER_MOVES.items() if "exited" not in after] == ["exited"]
    assert WORKER_MOVES["exited"] == frozenset()


def test_a_worker_that_drains_takes_no_work_again() -> None:
    assert WORKER_MOVES["draining"] == {"exited"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize("state", WORKER_STATES)
async def test_a_worker_makes_the_legal_moves_and_no_other(state: WorkerState) -> None:
    events: dict[WorkerState, Any] = {
        "idle": Worker.become_idle,
        "busy": Worker.become_busy,
        "draining": Worker.drain,
        "exited": Worker.exit,
    }
    for after, event in events.items():
        worker = Worker(Mock(), 1, solo=False, cause="demand")
        worker.state = state
        event(worker)
        assert worker.state == (after if after in WORKER_MOVES[state] else state)


@pytest.mark.anyio
async def test_a_worker_that_has_exited_cannot_be_retired_or_killed() -> None:
    worker = Worker(Mock(), 1, solo=False, cause="demand")
    worker.child = Mock(has_ended=True)
    worker.exit()
    assert not worker.retire("stop")
    worker.kill("drain")
    assert (worker.state, worker.asked_to_stop, worker.killed) == ("exited", False, None)


@pytest.mark.anyio
async def test_the_first_reason_to_kill_a_worker_is_kept() -> None:
    worker = Worker(Mock(), 2, solo=False, cause="demand")
    worker.child = Mock(has_ended=False)
    worker.become_ready()
    worker.become_busy()
    worker.kill_for("r1", "timeout")
    worker.kill_for("r2", "cancelled")
    worker.kill("stop")
    assert (worker.killed, worker.killed_for, worker.state, worker.asked_to_stop) == ("timeout", "r1", "draining", True)
    assert not worker.takes_work


@pytest.mark.anyio
async def test_a_worker_whose_link_is_lost_takes_no_work_whatever_its_state() -> None:
    worker = Worker(Mock(), 1, solo=False, cause="demand")
    worker.become_ready()
    assert worker.takes_work
    worker.lose_link()
    assert (worker.state, worker.takes_work) == ("idle", False)
