"""Schedules with a real clock and a real daemon."""

from __future__ import annotations

import json
import signal

import pytest

from tako_lite.clock import SystemClock, iso
from tests.support.project import Project, wait_until

EVERY_SECOND = """
@workflow("tick", schedule="* * * * * *", catch_up="{catch_up}")
async def tick(payload, step: Step):
    witness("tick", payload=payload, run=step.run_id)
"""


def slots(project: Project) -> list[str]:
    """The slots that made runs, in their order."""
    with project.client() as client:
        runs = client.call("runs", workflow="tick")["runs"]
    return sorted(run["run_at"] for run in runs)


def seconds(slots: list[str]) -> list[int]:
    """Second of the day of each slot."""
    return [int(slot[11:13]) * 3600 + int(slot[14:16]) * 60 + int(slot[17:19]) for slot in slots]


def test_a_schedule_of_every_second_fires_each_slot_once_over_a_restart(project: Project) -> None:
    project.workflow("tick.py", EVERY_SECOND.format(catch_up="all"))
    project.serve()
    project.wait_for_fact("tick", 1)
    project.stop(signal.SIGKILL)
    down_since = iso(SystemClock().now()) or ""
    wait_until(lambda: (iso(SystemClock().now() - 2100) or "") > down_since, "two slots are missed")
    project.serve()
    before = len(slots(project))
    wait_until(lambda: len(slots(project)) > before, "it goes on")
    project.call("pause_schedule", workflow="tick", paused=True)
    fired = slots(project)
    assert all(slot.endswith(".000Z") for slot in fired)
    first, *rest = seconds(fired)
    assert rest == list(range(first + 1, first + 1 + len(rest)))
    ids = set(project.call("ids", workflow="tick")["ids"])
    assert len(ids) == len(fired)
    wait_until(lambda: {fact["run"] for fact in project.facts("tick")} == ids, "every slot ran")
    assert {fact["payload"] for fact in project.facts("tick")} == {None}


def test_a_paused_schedule_creates_no_runs_and_continues_with_its_next_slot_when_resumed(project: Project) -> None:
    project.workflow("tick.py", EVERY_SECOND.format(catch_up="latest"))
    project.serve()
    project.wait_for_fact("tick", 1)
    assert project.command("schedules", "pause", "tick").returncode == 0
    paused = slots(project)
    (listed,) = json.loads(project.command("schedules", "--json").stdout)["schedules"]
    assert (listed["paused"], listed["next_at"]) == (True, None)
    project.stop()
    project.serve()
    made = project.command("schedules", "run", "tick", "--json")
    assert project.wait(json.loads(made.stdout)["id"])["state"] == "succeeded"
    assert len(slots(project)) == len(paused) + 1
    resumed_at = iso(SystemClock().now()) or ""
    assert project.command("schedules", "resume", "tick").returncode == 0
    later = wait_until(lambda: [slot for slot in slots(project) if slot > resumed_at and slot.endswith(".000Z")], "it goes on")
    assert not [slot for slot in slots(project) if paused[-1] < slot < later[0] and slot.endswith(".000Z")]


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_schedules_are_listed_with_their_next_and_last_slot(project: Project, json_option: tuple[str, ...]) -> None:
    project.workflow(
        "daily.py",
        "@workflow('daily', schedule='30 8 * * *', timezone='Europe/Berlin')\nasync def daily():\n    return 1\n",
    )
    project.serve()
    listed = project.command("schedules", *json_option)
    assert listed.returncode == 0
    if not json_option:
        assert "30 8 * * *" in listed.stdout and "Europe/Berlin" in listed.stdout
        return
    document = json.loads(listed.stdout)
    assert document["schema"] == 1
    (schedule,) = document["schedules"]
    assert (schedule["workflow"], schedule["cron"], schedule["timezone"]) == ("daily", "30 8 * * *", "Europe/Berlin")
    assert (schedule["last_at"], schedule["paused"]) == (None, False)
    assert schedule["next_at"] > (iso(SystemClock().now()) or "")


def test_an_undefined_schedule_is_not_found(project: Project) -> None:
    project.workflow("tick.py", "@workflow('tick')\nasync def tick():\n    return 1\n")
    project.serve()
    for verb in ("pause", "resume", "run"):
        assert project.command("schedules", verb, "tick").returncode == 5


def test_a_schedule_that_is_taken_out_of_the_file_stops_and_one_that_is_put_in_begins(project: Project) -> None:
    project.workflow("tick.py", EVERY_SECOND.format(catch_up="latest"))
    project.serve()
    project.wait_for_fact("tick", 1)
    project.add("tick.py", "@workflow('tick')\nasync def tick():\n    return 1\n")
    assert project.call("schedules")["schedules"] == []
    count = len(slots(project))
    project.add("other.py", "@workflow('other', schedule='* * * * * *')\nasync def other():\n    witness('other')\n")
    project.wait_for_fact("other", 2)
    assert len(slots(project)) == count
