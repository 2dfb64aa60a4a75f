"""A real daemon whose clock is moved while it runs: by hours and days, to 1970 and 2100, back over slots, in a sleep."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tako_lite.cli.main import main
from tako_lite.clock import LATEST_MS, iso, milliseconds
from tako_lite.errors import BadInput, CatalogError
from tests.support import clock_daemon
from tests.support.moved_clock import MovedClock
from tests.support.project import Project, wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.long]

HOUR, DAY = 3_600_000, 86_400_000
SHARED = """
import tako_lite.worker.run
from tests.support.moved_clock import MovedClock

_clock = MovedClock()
tako_lite.worker.run.ActiveRun.now = lambda run: _clock.now()  # a worker looks at the machine's clock, as the daemon does
"""
WORKFLOWS = f"""
{SHARED}

@workflow("quick")
async def quick(payload):
    return payload

@workflow("sleeper")
async def sleeper(payload, step: Step):
    await step.sleep("long", payload)
    witness("woken", run=step.run_id)
    return "rested"
"""
HOURLY = """
@workflow("hourly", schedule="0 * * * *", catch_up="latest")
async def hourly(payload, step: Step):
    witness("hourly", run=step.run_id)
"""


def at(text: str) -> int:
    return milliseconds(text)


def slots(project: Project, workflow: str) -> list[str]:
    """The slots that made runs, in their order."""
    with project.client() as client:
        return sorted(run["run_at"] for run in client.call("runs", workflow=workflow)["runs"])


def jumped(project: Project) -> list[str]:
    """The slots that fired, once that of midnight did, over which the clock was set."""
    return wait_until(
        lambda: (fired := slots(project, "hourly"))[-1:] == ["2027-01-01T00:00:00.000Z"] and fired, "midnight fired"
    )


def looked(project: Project) -> None:
    """The daemon has seen what its clock says now: the timer that starts this run fired more than once."""
    assert project.run("quick", 1, delay=0.25)["result"] == 1


def test_sleeps_delays_and_slots_follow_the_wall_clock_and_never_fire_twice_if_it_goes_back(
    project: Project,
) -> None:
    project.workflow("a.py", WORKFLOWS + HOURLY)
    _, clock = clock_daemon.serve(project)
    clock.set(at("2027-01-01T00:30:00Z"))  # the next slot is half an hour away
    fired = jumped(project)
    hour, day = project.enqueue("sleeper", 3600), project.enqueue("quick", 2, delay="1d")
    project.wait_for_state(hour, "waiting")
    clock.move(-HOUR)
    looked(project)
    assert (project.get(hour)["state"], project.get(day)["state"], slots(project, "hourly")) == ("waiting", "pending", fired)
    clock.move(2 * HOUR)
    assert project.wait(hour)["result"] == "rested"
    wait_until(lambda: slots(project, "hourly") == [*fired, "2027-01-01T01:00:00.000Z"], "the slot of the hour fired")
    clock.move(-HOUR)
    looked(project)
    clock.move(HOUR)  # over the slot again
    looked(project)
    assert slots(project, "hourly") == [*fired, "2027-01-01T01:00:00.000Z"]
    assert project.get(day)["state"] == "pending"
    clock.move(DAY)
    assert project.wait(day)["result"] == 2
    wait_until(lambda: len(slots(project, "hourly")) == len(fired) + 2, "of a day's slots the latest fired")
    assert slots(project, "hourly")[-1] == "2027-01-02T01:00:00.000Z"
    clock.move(-DAY)
    looked(project)
    assert len(slots(project, "hourly")) == len(fired) + 2
    assert len(project.facts("woken")) == 1
    runs = project.call("runs", workflow="hourly")["runs"]
    wait_until(lambda: len(project.facts("hourly")) == len(runs), "each slot ran once")


def test_a_machine_suspended_for_eight_hours_fires_one_slot_and_kills_no_worker(
    project: Project,
) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow("a.py", WORKFLOWS + HOURLY)
    project.workflow(
        "busy.py",
        """
        @workflow("busy", worker="busy")
        async def busy(payload):
            witness("busy")
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
            return os.getpid()
        """,
    )
    daemon, clock = clock_daemon.serve(project)
    clock.set(at("2027-01-01T00:30:00Z"))
    before = jumped(project)
    busy, sleeper = project.enqueue("busy"), project.enqueue("sleeper", 3600)
    (fact,) = project.wait_for_fact("busy")
    project.wait_for_state(sleeper, "waiting")
    zygote = project.status()["daemon"]["zygote_pid"]
    workers = [worker["pid"] for group in project.status()["groups"] for worker in group["workers"]]
    everybody = [*workers, zygote, daemon]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    asleep = MovedClock(project.root).now()
    clock.move(8 * HOUR)
    wait_until(lambda: clock.now() > asleep + 8 * HOUR + 1_500, "longer than the silence that a worker may keep")
    for pid in reversed(everybody):
        os.kill(pid, signal.SIGCONT)
    assert project.wait(sleeper)["result"] == "rested"
    wait_until(lambda: slots(project, "hourly") == [*before, "2027-01-01T08:00:00.000Z"], "one slot of eight fired")
    (project.root / "go").touch()
    run = project.wait(busy)
    assert (run["result"], run["attempts"], run["crashes"]) == (fact["pid"], 1, 0)
    assert slots(project, "hourly") == [*before, "2027-01-01T08:00:00.000Z"]


def test_a_daemon_that_finds_itself_in_1970_and_in_2100_works_on_and_back_in_its_own_time_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    project.workflow("a.py", WORKFLOWS + HOURLY)
    _, clock = clock_daemon.serve(project)
    now = clock.now()
    soon, later = project.enqueue("quick", "soon", delay="1h"), project.enqueue("quick", "later", at="2150-01-01T00:00:00Z")
    expected = {soon: "pending", later: "pending"}
    for year, moment in ((1970, DAY), (2100, at("2100-06-01T00:30:00Z")), (int((iso(now) or "")[:4]), now)):
        clock.set(moment)
        if year == 2100:
            assert project.wait(soon)["result"] == expected.pop(soon) or "soon"
        run = project.run("sleeper", 1.01)  # long enough to park
        assert (run["result"], run["attempts"], run["created_at"][:4]) == ("rested", 1, str(year))
        for words in (["status"], ["runs"], ["show", run["id"]], ["why", later], ["schedules"], ["runs", "--since", "1h"]):
            assert main(words) == 0  # in a year of its own
        assert {run_id: project.get(run_id)["state"] for run_id in expected} == expected
    assert "Traceback" not in project.daemon_log()


LEAP = """
@workflow("leap", schedule="0 0 29 2 *")
async def leap(payload):
    return None
"""


def test_the_29th_of_february_comes_every_four_years_and_the_31st_is_refused(project: Project) -> None:
    project.configure('[queue]\nkeep = { succeeded = "36500d" }\n')
    project.workflow("a.py", WORKFLOWS)
    _, clock = clock_daemon.serve(project)
    clock.set(at("2026-12-01T00:00:00Z"))
    project.add("leap.py", LEAP)
    with pytest.raises(CatalogError, match="'0 0 31 2 \\*' is not a schedule"):
        project.add("never.py", LEAP.replace("29", "31").replace("leap", "never"))
    (project.root / "workflows/never.py").unlink()
    (listed,) = project.call("schedules")["schedules"]
    assert (listed["workflow"], listed["next_at"]) == ("leap", "2028-02-29T00:00:00.000Z")
    for moment in ("2027-02-28T23:59:59Z", "2027-03-01T00:00:00Z", "2028-02-28T23:59:00Z"):
        clock.set(at(moment))
        looked(project)
        assert slots(project, "leap") == []
    clock.set(at("2028-02-29T00:00:00Z"))
    wait_until(lambda: slots(project, "leap") == ["2028-02-29T00:00:00.000Z"], "the day has come")
    clock.set(at("2032-03-01T00:00:00Z"))
    wait_until(lambda: slots(project, "leap") == ["2028-02-29T00:00:00.000Z", "2032-02-29T00:00:00.000Z"], "and once more")


def test_a_thousand_sleeps_that_end_in_the_same_millisecond_all_end_once(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 250\n")
    project.workflow(
        "a.py",
        """
        @workflow("until")
        async def until(payload, step: Step):
            await step.sleep_until("then", payload)
            witness("woken", run=step.run_id)
            return "rested"
        """,
    )
    _, clock = clock_daemon.serve(project)
    then = clock.now() + DAY
    with project.client() as client:
        runs = client.enqueue_many("until", [iso(then)] * 1_000)
        wait_until(lambda: len(client.call("ids", states=["waiting"])["ids"]) == 1_000, "all sleep", 60)
        assert project.facts("woken") == []
        clock.set(then - 1_000)
        wait_until(lambda: client.call("ids", states=["succeeded"])["ids"] == runs, "all are over", 60)
    assert sorted(fact["run"] for fact in project.facts("woken")) == sorted(runs)


# Downtime

EVERY_SECOND = """
@workflow("tick", schedule="* * * * * *", catch_up="{catch_up}")
async def tick(payload, step: Step):
    witness("tick", run=step.run_id)
"""


@pytest.mark.parametrize(("catch_up", "missed"), [("none", 60), ("latest", 1), ("all", 100)])
def test_after_a_year_down_a_schedule_of_every_second_catches_up_as_configured(
    project: Project, catch_up: str, missed: int
) -> None:
    project.workflow("a.py", EVERY_SECOND.format(catch_up=catch_up))
    _, clock = clock_daemon.serve(project)
    project.wait_for_fact("tick")
    project.stop(signal.SIGKILL)
    before = len(project.facts("tick"))
    clock.move(366 * DAY)
    started = clock.now()
    clock_daemon.serve(project)
    answered = clock.now()
    project.wait_for_fact("tick", before + missed + 3)  # one that was interrupted may run again
    project.call("pause_schedule", workflow="tick", paused=True)
    listed = json.loads(project.command("runs", "--workflow", "tick", "--all", "--json").stdout)["runs"]
    runs = {run["id"]: milliseconds(run["run_at"]) for run in listed if milliseconds(run["run_at"]) > started - HOUR}
    fired = sorted(runs.values())
    assert started - 1_000 * (missed + 1) < fired[0] <= answered - 1_000 * (missed - 1)
    assert len(fired) == len(set(fired)) >= missed + 2
    if catch_up != "latest":  # which passes over those of a moment in which the machine was busy
        assert fired == [fired[0] + 1_000 * number for number in range(len(fired))]
    wait_until(lambda: runs.keys() <= {fact["run"] for fact in project.facts("tick")}, "each of them ran")


# Numbers that are no times

LENGTHS = [
    "9223372036854775808",
    "9223372036854775808s",
    "-1",
    "-1s",
    "nan",
    "nans",
    "inf",
    "1e400s",
    "36526d",
    "s",
    "",
    "١s",
    "0x10s",
]
TIMES = ["9223372036854775808", "-1", "nan", "10000-01-01", "+10000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "now", ""]
TIMES += ["1969-12-31T23:59:59Z", "0000-01-01", "2030-02-30", "2030-01-01T25:00Z", "2030-01-01T00:00:00+99:99"]
COUNTS = ["9223372036854775808", "-1", "nan", "1e3", "", "1.5"]
OPTIONS = [
    *((("enqueue", "quick", "--delay", text), 2) for text in LENGTHS),
    *((("enqueue", "quick", "--wait", "--timeout", text), 2) for text in LENGTHS),
    *((("enqueue", "quick", "--at", text), 2) for text in TIMES),
    *((("runs", "--since", text), 2) for text in TIMES if text != "-1"),
    *((("scale", "default", text), 2) for text in COUNTS),
    *((("enqueue", "quick", "--retries", text), 2) for text in COUNTS),
    *((("enqueue", "quick", "--priority", text), 2) for text in COUNTS if text != "-1"),
    *((("logs", "-n", text), 2) for text in COUNTS if not text.isdigit()),
    *((("runs", "--limit", text), 2) for text in COUNTS if not text.isdigit()),
]


@pytest.fixture(scope="module")
def known(live: Project) -> Iterator[Project]:
    live.add("a.py", WORKFLOWS)
    yield live
    assert "Traceback" not in live.daemon_log()


def test_a_number_that_is_no_time_is_refused_at_every_option_and_nothing_is_stored(
    known: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(known.root)
    before = known.call("ids")["ids"]
    wrong = []
    for words, code in OPTIONS:
        got = main(words)
        said = capsys.readouterr().err
        if got != code or not said.startswith("error: ") or "Traceback" in said:
            wrong.append((words, got, said))
    assert wrong == []
    assert known.call("ids")["ids"] == before


BAD_LENGTHS: list[Any] = [2**63, -1, -0.001, float("nan"), float("inf"), 1e308, True, "5", "36526d", None.__class__]
BAD_TIMES: list[Any] = [
    2**63,
    -1,
    float("nan"),
    float("inf"),
    True,
    "10000-01-01T00:00:00Z",
    datetime.max,
    datetime(2030, 1, 1),
]


def test_a_number_that_is_no_time_is_refused_by_a_client(known: Project) -> None:
    before = known.call("ids")["ids"]
    with known.client() as client:
        for length in BAD_LENGTHS:
            with pytest.raises(BadInput):
                client.enqueue("quick", delay=length)
        for when in BAD_TIMES:
            with pytest.raises(BadInput):
                client.enqueue("quick", at=when)
        for moment in (2**63, -1, LATEST_MS + 1):
            for command in ("runs", "ids"):
                with pytest.raises(BadInput):
                    client.call(command, since=moment)
            with pytest.raises(BadInput):
                client.call("enqueue", workflow="quick", at=moment)
        for seconds in (2**63, -1, 1e300):
            with pytest.raises(BadInput):
                client.call("enqueue", workflow="quick", delay=seconds)
    assert known.call("ids")["ids"] == before


def test_a_number_that_is_no_time_is_refused_by_a_step_and_its_run_says_so(known: Project) -> None:
    known.add(
        "odd.py",
        """
        import datetime
        LENGTHS = [2**63, -1, float("nan"), float("inf"), 1e308, True, "5", "36526d"]
        TIMES = [2**63, -1, float("nan"), float("inf"), "10000-01-01T00:00:00Z", datetime.datetime.max]

        @workflow("odd", retries=0, worker="odd")
        async def odd(payload, step: Step):
            kind, number = payload
            calls = {
                "sleep": lambda: step.sleep("a", LENGTHS[number]),
                "sleep_until": lambda: step.sleep_until("a", TIMES[number]),
                "wait_for": lambda: step.wait_for("go", timeout=LENGTHS[number]),
                "run": lambda: step.run("a", asyncio.sleep, 0, timeout=LENGTHS[number]),
                "enqueue": lambda: step.enqueue("a", "quick", delay=LENGTHS[number]),
                "retry": lambda: step.retry(after=LENGTHS[number]),
            }
            await calls[kind]()
            return "taken"
        """,
    )
    kinds = [(kind, number) for kind in ("sleep", "wait_for", "run", "enqueue", "retry") for number in range(8)]
    kinds += [("sleep_until", number) for number in range(6)]
    with known.client() as client:
        ids = client.enqueue_many("odd", kinds)
        ends = {kind: client.wait(run_id, timeout=15) for kind, run_id in zip(kinds, ids, strict=True)}
    taken = {kind: run["result"] for kind, run in ends.items() if run["state"] != "dead"}
    assert taken == {}
    assert {run["crashes"] for run in ends.values()} == {0}
    assert {run["error"]["type"].rpartition(".")[2] for run in ends.values()} == {"BadInput"}
