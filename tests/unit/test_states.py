"""The states of a run and the moves between them."""

from __future__ import annotations

from typing import get_args

from tako_lite.states import MOVES, RUN_STATES, TERMINAL, RunState


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
