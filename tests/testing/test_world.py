"""What a `Tako` takes over from production: limits, rates, fallbacks, hooks, triggers, retention, crashes, settings."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tako_lite import BlockingStep, Client, Step, poll, workflow
from tako_lite.config import load
from tako_lite.errors import BadInput, CatalogError, ConfigError, NotFound, TakoError
from tako_lite.hooks import Death, RunInfo, around, attempt_hooks
from tako_lite.testing import Tako

CONFIG = """
    [workflows.slow]
    wait_timeout = "1h"
    concurrency = 1

    [workflows.fragile]
    max_crashes = 1
    env = { COLOUR = "blue" }

    [tenants.acme]
    worker = "slow"
"""
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@workflow("one", worker="slow")
async def one(payload: Any, step: Step) -> Any:
    seen.append(payload)
    return payload


@workflow("limited", limit=1)
async def limited(payload: Any, step: Step) -> None:
    seen.append(("begins", payload))
    await asyncio.sleep(0)
    seen.append(("ends", payload))


@workflow("rated", rate="1/m")
async def rated(payload: Any) -> None:
    seen.append(payload)


@workflow("fragile", worker="fragile")
def fragile(payload: Any, step: BlockingStep) -> str:
    return step.run("colour", lambda: os.environ["COLOUR"])


@workflow("mourns", on_dead="fails")
async def mourns(death: Death) -> str:
    return death.message


@workflow("fails", retries=0)
async def fails(payload: Any) -> None:
    raise ValueError("no")


@poll("files", every="1m", starts="one")
def files(cursor: int | None) -> tuple[list[int], int]:
    cursor = cursor or 0
    if cursor == 2:
        raise OSError("unplugged")
    return [cursor], cursor + 1


@workflow("loop")
async def loop(payload: Any, step: Step) -> None:
    await step.enqueue("again", "loop")


@workflow("stuck")
async def stuck(payload: Any) -> None:
    await asyncio.sleep(60)


@workflow("uses-client")
async def uses_client(payload: Any) -> None:
    await one.aenqueue("from a coroutine")
    await asyncio.to_thread(one.enqueue, "from a thread")


@workflow("plain-client")
def plain_client(payload: Any) -> None:
    with Client() as client:
        client.enqueue("one", "from a plain handler")


HANDLES = [one, limited, rated, fragile, mourns, fails, files, loop, stuck, uses_client, plain_client]
pytestmark = pytest.mark.tako(workflows=HANDLES, config=CONFIG)


def test_limits_and_rates_hold(tako: Tako) -> None:
    tako.enqueue_many(limited, [1, 2])
    tako.run_until_idle()
    assert seen == [("begins", 1), ("ends", 1), ("begins", 2), ("ends", 2)]
    seen.clear()
    tako.enqueue_many(rated, [1, 2, 3])
    tako.run_until_idle()
    assert seen == [1]
    tako.advance("61s")
    assert seen == [1, 2]


def test_a_paused_group_starts_nothing_and_its_runs_end_after_wait_timeout(tako: Tako) -> None:
    with tako.paused("slow"):
        kept, lost = tako.enqueue(one, 1, delay="30m"), tako.enqueue(one, 2)
        tako.run_until_idle()
        assert (lost.state, seen) == ("pending", [])
        tako.advance("61m")
        assert lost.failed_with("NoWorker")
        assert kept.state == "pending"
    tako.run_until_idle()
    assert kept.succeeded == 1


def test_tenants_unique_keys_and_priorities_act_as_in_production(tako: Tako) -> None:
    with tako.tenant("acme"):
        assert tako.enqueue(limited, 1).group == "slow"
    first = tako.enqueue(one, 1, unique_key="a")
    assert tako.enqueue(one, 2, unique_key="a") == first
    tako.enqueue(one, 3, priority=10)
    tako.run_until_idle(group="slow", workflow=one)
    assert seen == [3, 1]


def test_a_death_starts_the_workflow_that_asks_for_it(tako: Tako) -> None:
    dead = tako.run(fails)
    dead.failed_with(ValueError)
    (told,) = tako.assert_enqueued(mourns, {"run_id": dead.id})
    assert told.succeeded == "no"


def test_a_trigger_is_evaluated_by_hand_and_by_time(tako: Tako) -> None:
    (found,) = tako.poll(files)
    assert (found.workflow, found.payload, found.state) == ("one", 0, "pending")
    tako.advance("1m", schedules=True)
    tako.assert_enqueued(one, 1, state="succeeded")
    with pytest.raises(AssertionError, match="trigger files failed: OSError: unplugged"):
        tako.poll("files")


def test_crashes_are_counted_as_in_production(tako: Tako) -> None:
    assert tako.run(fragile).succeeded == "blue"
    tako.crash(fragile, at="before:colour")
    run = tako.run(fragile)
    assert (run.failed_with("WorkerCrashed"), run.crashes) == (
        "its worker was killed by SIGKILL",
        1,
    )


def test_ended_runs_are_deleted_after_their_retention(tako: Tako) -> None:
    run = tako.run(one, 1)
    tako.advance("8d")
    with pytest.raises(NotFound):
        _ = run.state


def test_cancelled_and_retried_runs_know_it(tako: Tako) -> None:
    run = tako.enqueue(one, 1, delay="1d")
    assert (tako.cancel(run), run.cancelled) == ("cancelled", "cancelled on request")
    assert (tako.retry(run), tako.run(one, 1).state, run.succeeded) == ("pending", "succeeded", 1)


def test_a_workflow_that_starts_itself_is_named(tako: Tako) -> None:
    tako.enqueue(loop)
    with pytest.raises(AssertionError, match="50 attempts were started, 50 of them of loop: does it start itself"):
        tako.advance("1s", max_runs=50)


def test_a_year_of_a_schedule_by_the_minute_ends_with_an_error_that_names_it() -> None:
    @workflow("minutely", schedule="* * * * *")
    async def minutely() -> None: ...

    with Tako(workflows=[minutely]) as tako:
        with pytest.raises(AssertionError, match="50 attempts were started, 50 of them of minutely"):
            tako.advance("365d", schedules=True, max_runs=50)
        assert tako.now == datetime(2030, 1, 1, 0, 50, tzinfo=UTC)


def test_a_handler_that_does_not_end_fails_the_call_with_the_states_of_the_runs(tako: Tako) -> None:
    tako.limit = 0.2
    tako.enqueue(stuck)
    with pytest.raises(AssertionError) as failure:
        tako.run_until_idle()
    assert "nothing ended within 0.2 s of real time" in str(failure.value)
    assert "running    stuck" in str(failure.value)
    tako.limit = 10


def test_an_attempt_to_run_from_a_handler_is_refused(tako: Tako) -> None:
    tako.stub(uses_client, step="none", do=tako.run_until_idle)
    tako.script.stubs.clear()

    def hook(run: RunInfo, proceed: Any) -> Any:
        tako.run_until_idle()

    attempt_hooks.append(hook)
    try:
        with pytest.raises(AssertionError, match="a handler cannot call this method of a Tako"):
            _ = tako.run(uses_client, retries=0).succeeded
    finally:
        attempt_hooks.remove(hook)


def test_clients_in_handlers_enqueue_too(tako: Tako) -> None:
    assert (tako.run(uses_client).succeeded, tako.run(plain_client).succeeded) == (None, None)
    assert seen == ["from a coroutine", "from a thread", "from a plain handler"]


def test_hooks_see_attempts(tako: Tako) -> None:
    @around
    async def hook(run: RunInfo, proceed: Any) -> Any:
        seen.append((run.workflow, run.attempt))
        return await proceed()

    tako.run(one, 1)
    assert seen == [("one", 1), 1]


def test_the_hooks_of_a_test_are_gone_after_it() -> None:
    assert attempt_hooks == []


def test_time_starts_and_moves_as_the_test_says() -> None:
    with Tako(workflows=[one], config="", start=datetime(2031, 5, 1, tzinfo=UTC)) as tako:
        run = tako.enqueue(one, 1, at="2031-05-02T00:00:00Z")
        tako.advance_to("2031-05-01T23:59:59Z")
        assert run.state == "pending"
        tako.advance(1)
        assert run.succeeded == 1
        with pytest.raises(BadInput, match="the virtual time is 2031-05-02T00:00:00\\+00:00 already") as error:
            tako.advance_to("2031-05-01T00:00:00Z")
        assert error.value.hint


def test_other_threads_may_enqueue_meanwhile(tako: Tako) -> None:
    late = threading.Timer(0.05, one.enqueue, [7])
    late.start()
    tako.assert_enqueued(one, 7, within="5s")
    late.join()
    tako.assert_no_dead()
    with pytest.raises(AssertionError, match="runs are due"):
        tako.assert_idle()


def test_a_snapshot_is_the_same_each_time(tako: Tako) -> None:
    tako.run(one, {"b": 1, "a": 2})
    assert tako.snapshot() == (
        '#1 one {"a": 2, "b": 1}: succeeded\n  enqueued +0s, attempts 1, crashes 0\n  succeeded +0s: {"a": 2, "b": 1}\n'
    )


# Files


@pytest.fixture
def files_of_a_project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "tako.toml").write_text('[workflows]\nsetup = "startup:prepare"\n')
    (tmp_path / "startup.py").write_text("ready = []\n\ndef prepare():\n    ready.append(1)\n")
    (tmp_path / "workflows" / "a.py").write_text(
        "import startup\nfrom tako_lite import workflow\n\n@workflow('a')\nasync def a(payload):\n    return startup.ready\n"
    )
    yield tmp_path


def test_a_project_is_read_once_and_again_when_a_file_changes(files_of_a_project: Path) -> None:
    with Tako(files_of_a_project) as tako:
        assert tako.run("a").succeeded == [1]
        loaded = tako.loaded
    with Tako(files_of_a_project) as tako:
        assert tako.loaded is loaded
        assert tako.run("a").succeeded == [1, 1]
    file = files_of_a_project / "workflows" / "a.py"
    file.write_text(file.read_text().replace("startup.ready", "'changed'"))
    with Tako(files_of_a_project) as tako:
        assert tako.run("a").succeeded == "changed"


def test_a_file_that_does_not_import_fails_with_its_line(files_of_a_project: Path) -> None:
    (files_of_a_project / "workflows" / "b.py").write_text(
        "from tako_lite import workflow\nimport nothing_such\n\n@workflow('b')\nasync def b(): ...\n"
    )
    with pytest.raises(TakoError, match=r"workflows/b\.py:2: ModuleNotFoundError"):
        Tako(files_of_a_project)
    (files_of_a_project / "workflows" / "b.py").write_text(
        "from tako_lite import workflow\n\n@workflow('b', retires=1)\nasync def b(): ...\n"
    )
    with pytest.raises(CatalogError, match="retires is not an option"):
        Tako(files_of_a_project)


def test_the_address_of_the_real_queue_need_not_be_known(files_of_a_project: Path) -> None:
    (files_of_a_project / "tako.toml").write_text('[queue]\nurl = "env:DATABASE_URL_OF_NOWHERE"\npassword = "env:NOT_SET"\n')
    with Tako(files_of_a_project) as tako:
        assert tako.run("a").state == "succeeded"
    with pytest.raises(ConfigError, match="DATABASE_URL_OF_NOWHERE is not set"):
        load(files_of_a_project)


def test_a_group_that_cannot_start_is_named(files_of_a_project: Path) -> None:
    (files_of_a_project / "tako.toml").write_text('[workflows]\nsetup = "failing:connect"\n')
    (files_of_a_project / "failing.py").write_text("def connect():\n    raise OSError('no database')\n")
    with Tako(files_of_a_project) as tako:
        tako.enqueue("a")
        with pytest.raises(TakoError, match=r"group default cannot start: .*no database"):
            tako.run_until_idle()


def test_nothing_is_left_behind(files_of_a_project: Path) -> None:
    with Tako(files_of_a_project):
        pass
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Tako(files_of_a_project) as tako:
            folder = tako.folder
            tako.run("a")
            with Client(files_of_a_project) as client:
                client.enqueue("a")
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)
    assert not folder.exists()
    assert not (files_of_a_project / ".tako").exists()


# Frozen clocks


@workflow("looks-at-the-clock")
async def looks_at_the_clock(payload: Any, step: Step) -> list[str]:
    before = datetime.now(UTC).isoformat()
    await step.sleep("nap", "1d")
    return [before, await step.run("later", lambda: datetime.now(UTC).isoformat())]


def test_the_clocks_of_python_follow_the_virtual_time_if_they_are_frozen() -> None:
    pytest.importorskip("time_machine")
    with Tako(workflows=[looks_at_the_clock], config="", freeze=True) as tako:
        assert tako.run(looks_at_the_clock).succeeded == ["2030-01-02T00:00:00+00:00"] * 2
    assert datetime.now(UTC).year < 2030
