"""Polling triggers with a real daemon: files appear in a folder, and each is processed once, whatever dies."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
from collections import Counter
from typing import Any

import pytest

from tako_lite.cli.main import main
from tests.support.project import Project, is_gone, wait_until

NUMBERS = itertools.count()
"""Folders and facts of one test are apart from those of others in the same project."""

FOLDER = """
from tako_lite import poll

@poll("new-files{test}", every="{every}", starts="process", worker="{group}")
def new_files(cursor):
    witness("look{test}", cursor=cursor)
    names = sorted(name for name in os.listdir("inbox{test}") if cursor is None or name > cursor)[:5]
    return [{{"name": name}} for name in names], (names or [cursor])[-1]

@workflow("process")
async def process(payload, step: Step):
    witness("process{test}", name=payload["name"])
"""


class Inbox:
    """A folder of a project, and the trigger that looks into it."""

    def __init__(self, project: Project, *, every: str = "1s", group: str = "media") -> None:
        self.project = project
        self.test = next(NUMBERS)
        self.name = f"new-files{self.test}"
        self.source = FOLDER.format(test=self.test, every=every, group=group)
        self.folder = project.root / f"inbox{self.test}"
        self.folder.mkdir()

    def put(self, name: str) -> None:
        """A file appears."""
        (self.folder / name).touch()

    def looks(self) -> list[dict[str, Any]]:
        """The evaluations that have begun."""
        return self.project.facts(f"look{self.test}")

    def processed(self) -> list[str]:
        """The files that were processed, in the order in which they were."""
        return [fact["name"] for fact in self.project.facts(f"process{self.test}")]

    def wait_for(self, *names: str) -> None:
        """These files, and no others, are processed, each of them once."""
        wait_until(lambda: len(self.processed()) >= len(names), f"{names} are processed")
        assert self.processed() == [*names]


def trigger(project: Project) -> dict[str, Any]:
    """The one trigger of a project."""
    (only,) = project.call("triggers")["triggers"]
    return dict(only)


def wait_for_trigger(project: Project, what: str, **facts: Any) -> dict[str, Any]:
    """The one trigger, once it is so."""
    return wait_until(lambda: (found := trigger(project)) == {**found, **facts} and found, what)


def cli(project: Project, *words: str) -> int:
    """The exit code of a command line, given in this process."""
    return main(["-c", str(project.root), *words])


def test_each_file_is_processed_once_over_kills_of_worker_and_daemon_at_random_moments(project: Project) -> None:
    dice = random.Random(5)
    inbox = Inbox(project)
    project.workflow("files.py", inbox.source)
    project.serve()
    names = [f"f{number:03}" for number in range(16)]
    for number, name in enumerate(names):
        inbox.put(name)
        project.call("run_trigger", name=inbox.name)
        looks = inbox.looks()
        if number == 9:
            project.stop(signal.SIGKILL)
            project.serve()
        elif looks and dice.random() < 0.4 and not is_gone(pid := looks[-1]["pid"]):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(inbox.processed()) == set(names), "every file is processed")
    runs = project.call("runs", workflow="process")["runs"]
    assert Counter(run["payload"]["name"] for run in runs) == Counter(names)
    assert trigger(project)["started"] == len(names)
    assert set(project.call("ids")["ids"]) == {run["id"] for run in runs}


def test_evaluations_follow_each_other_and_never_overlap(live: Project) -> None:
    live.add(
        "files.py",
        """
        from tako_lite import poll

        @poll("slow", every="1s", starts="nothing")
        async def slow(cursor):
            witness("begin")
            while not os.path.exists(f"go-{cursor or 0}"):
                await asyncio.sleep(0.01)
            witness("end")
            return (), (cursor or 0) + 1

        @workflow("nothing")
        def nothing(): ...
        """,
    )
    live.wait_for_fact("begin")
    assert wait_for_trigger(live, "it is evaluated", evaluating=True)["next_at"] is None
    assert live.call("run_trigger", name="slow")["begun"] is False
    group = live.group("default")
    assert (group["pending"], group["waiting"], group["oldest_wait_s"]) == (0, 0, None)
    (live.root / "go-0").touch()
    live.wait_for_fact("begin", 2)
    assert [fact["kind"] for fact in live.facts() if fact["kind"] in ("begin", "end")] == ["begin", "end", "begin"]
    assert trigger(live)["cursor"] == 1
    (live.root / "go-1").touch()


def test_an_error_is_shown_and_cleared_and_the_cursor_stays_meanwhile(
    live: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    live.add(
        "files.py",
        """
        from tako_lite import poll

        @poll("count", every="1s", starts="take")
        async def count(cursor):
            if os.path.exists("broken"):
                raise ValueError("the shop is closed")
            return [cursor or 0], (cursor or 0) + 1

        @workflow("take")
        async def take(payload):
            witness("take", number=payload)
        """,
    )
    live.wait_for_fact("take")
    (live.root / "broken").touch()
    failed = wait_until(lambda: (found := trigger(live))["last_error"] and found, "it fails")
    assert (failed["last_error"]["type"], failed["last_error"]["message"]) == ("ValueError", "the shop is closed")
    assert "files.py" in failed["last_error"]["traceback"]
    assert cli(live, "triggers") == 0
    assert "ValueError:" in capsys.readouterr().out
    (live.root / "broken").unlink()
    well = wait_until(lambda: (found := trigger(live))["last_error"] is None and found, "it is well again")
    assert well["evaluated_at"] > failed["evaluated_at"]
    assert [fact["number"] for fact in live.wait_for_fact("take", failed["cursor"] + 1)][: failed["cursor"] + 1] == [
        *range(failed["cursor"] + 1)
    ]
    assert live.call("ids", states=["dead"])["ids"] == []


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ("return None", "a trigger returns (payloads, cursor), and this one returned None", "bad_input"),
        ("return {'a': 1}, 2", "the payloads that a trigger returns are a list, not dict", "bad_input"),
        ("return range(3), 1", "the payloads that a trigger returns are a list, not range", "bad_input"),
        ("return [object()], 1", "what it returned", "not_json"),
        ("return ['x' * 2_000_000], 1", "return a part of the payloads", "too_large"),
        ("return [0] * 10_001, 1", "the limit is 10,000", "too_large"),
        ("await asyncio.sleep(60)", "took longer than its timeout", "timeout"),
        ("os._exit(3)", "exited with code 3", "crashed"),
    ],
)
def test_what_is_no_answer_is_the_error_of_the_trigger(live: Project, body: str, error: str, reason: str) -> None:
    live.add(
        "files.py",
        f"""
        from tako_lite import poll

        @poll("odd-{next(NUMBERS)}", every="1h", starts="nothing", timeout=0.3)
        async def odd(cursor):
            {body}

        @workflow("nothing")
        def nothing(): ...
        """,
    )
    failed = wait_until(lambda: (found := trigger(live))["last_error"] and found, "it fails")
    assert error in failed["last_error"]["message"]
    assert (failed["last_error"]["reason"], failed["cursor"], failed["started"]) == (reason, None, 0)


def test_payloads_and_cursors_of_any_type_come_as_json_has_them(live: Project) -> None:
    live.add(
        "files.py",
        """
        from dataclasses import dataclass
        from datetime import datetime
        from tako_lite import poll

        @dataclass
        class Order:
            number: int

        @poll("orders", every="1s", starts="pack")
        async def orders(cursor: datetime | None):
            seen = datetime(2030, 1, 1) if cursor is None else cursor.replace(year=cursor.year + 1)
            return [Order(seen.year)], seen

        @workflow("pack")
        async def pack(payload: Order):
            witness("pack", number=payload.number)
        """,
    )
    assert [fact["number"] for fact in live.wait_for_fact("pack", 2)][:2] == [2030, 2031]


@pytest.mark.sqlite  # it says that no daemon runs, which another machine may have
def test_a_paused_trigger_is_not_evaluated_and_continues_from_its_cursor_when_resumed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = Inbox(project)
    project.workflow("files.py", inbox.source)
    inbox.put("a")
    project.serve()
    inbox.wait_for("a")
    assert cli(project, "triggers", "pause", inbox.name) == 0
    wait_for_trigger(project, "the last evaluation is over", evaluating=False)
    looks = len(inbox.looks())
    project.stop()
    capsys.readouterr()
    assert cli(project, "triggers", "--json") == 0
    printed = capsys.readouterr()
    (listed,) = json.loads(printed.out)["triggers"]
    assert "no daemon is running" in printed.err
    assert (listed["name"], listed["group"], listed["starts"], listed["every_s"]) == (inbox.name, "media", "process", 1.0)
    assert (listed["paused"], listed["next_at"], listed["cursor"], listed["started"]) == (True, None, "a", 1)
    inbox.put("b")
    project.serve()
    assert cli(project, "triggers", "run", inbox.name) == 0
    inbox.wait_for("a", "b")
    assert (len(inbox.looks()), trigger(project)["paused"]) == (looks + 1, True)
    inbox.put("c")
    assert cli(project, "triggers", "resume", inbox.name) == 0
    inbox.wait_for("a", "b", "c")


def test_an_evaluation_waits_for_a_paused_group_without_piling_up_and_is_no_run_of_it(live: Project) -> None:
    inbox = Inbox(live, group="media")
    live.configure('[workflows.media]\nfallback = "fail"\n')
    inbox.put("a")
    live.add("files.py", inbox.source)
    inbox.wait_for("a")
    live.call("pause", group="media")
    wait_for_trigger(live, "it is due", evaluating=True)
    answer = live.call("run_trigger", name=inbox.name)
    assert (answer["begun"], "group media is paused" in answer["warning"]) == (False, True)
    assert trigger(live)["trouble"] == answer["warning"]
    group = live.group("media")
    assert (group["pending"], group["oldest_wait_s"], trigger(live)["last_error"]) == (0, None, None)
    assert live.call("ids", group="media")["ids"] == []
    inbox.put("b")
    live.call("resume", group="media")
    inbox.wait_for("a", "b")


def test_an_evaluation_whose_group_cannot_start_waits_for_it_and_says_why(
    live: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = Inbox(live, group=f"broken{next(NUMBERS)}")
    live.workflow("files.py", inbox.source + "\nraise RuntimeError('no module of this name')\n")
    live.call("reload")
    waiting = wait_until(lambda: (found := trigger(live))["trouble"] and found, "its group cannot start")
    assert "cannot start: " in waiting["trouble"]
    assert "no module of this name" in waiting["trouble"]
    assert (waiting["evaluating"], waiting["last_error"]) == (True, None)
    assert cli(live, "triggers") == 0
    printed = capsys.readouterr().out
    assert "waiting" in printed
    assert "evaluating" not in printed
    assert f"{inbox.name} waits: group {waiting['group']} cannot start: " in printed
    live.add("files.py", inbox.source)
    inbox.put("a")
    inbox.wait_for("a")
    assert trigger(live)["trouble"] is None


def test_an_evaluation_that_waited_too_long_for_its_group_is_an_error_of_its_trigger(live: Project) -> None:
    inbox = Inbox(live, group="media")
    live.configure('[workflows.media]\nwait_timeout = "300ms"\nfallback = "ignore"\n')
    inbox.put("a")
    live.add("files.py", inbox.source)
    inbox.wait_for("a")
    live.call("pause", group="media")
    inbox.put("b")
    failed = wait_until(lambda: (found := trigger(live))["last_error"] and found, "it has waited for too long")
    assert (failed["last_error"]["reason"], failed["cursor"], failed["started"]) == ("no_worker", "a", 1)
    assert "group media is paused" in failed["last_error"]["message"]
    assert live.call("ids", group="media")["ids"] == []
    live.call("resume", group="media")
    inbox.wait_for("a", "b")
    wait_for_trigger(live, "it is well again", last_error=None, started=2)


def test_a_group_for_tenants_refuses_the_evaluation_of_a_trigger(live: Project) -> None:
    inbox = Inbox(live, group="books")
    live.configure('[workflows.books]\nallowed_tenants = ["acme"]\n[tenants.acme]\n')
    inbox.put("a")
    live.add("files.py", inbox.source)
    refused = wait_until(lambda: (found := trigger(live))["last_error"] and found, "it is refused")
    assert (refused["last_error"]["reason"], refused["cursor"], refused["started"]) == ("tenant_denied", None, 0)
    assert "group books is for acme (allowed_tenants); the run has no tenant" in refused["last_error"]["message"]
    wait_until(lambda: trigger(live)["evaluated_at"] > refused["evaluated_at"], "it is refused again")
    assert (inbox.looks(), inbox.processed(), live.group("books")["workers"]) == ([], [], [])
    assert live.call("ids", group="books")["ids"] == []
    live.configure("[workflows.books]\n[tenants.acme]\n")
    live.call("reload")
    inbox.wait_for("a")
    wait_for_trigger(live, "it is well again", last_error=None)


def test_the_runs_of_a_trigger_have_no_tenant_and_end_where_only_tenants_may_go(live: Project) -> None:
    inbox = Inbox(live, every="1h", group="media")
    live.configure('[workflows.default]\nallowed_tenants = ["acme"]\n[tenants.acme]\n')
    before = set(live.call("ids")["ids"])
    inbox.put("a")
    live.add("files.py", inbox.source)
    wait_for_trigger(live, "it found something", started=1, cursor="a")
    (run,) = [live.get(id) for id in live.call("ids")["ids"] if id not in before]
    assert (run["state"], run["error"]["reason"], run["tenant"]) == ("dead", "tenant_denied", None)
    assert (run["group"], run["payload"], trigger(live)["last_error"]) == ("default", {"name": "a"}, None)
    live.configure("")
    live.call("reload")


def test_a_reload_takes_a_trigger_away_and_back_with_its_cursor(live: Project) -> None:
    inbox = Inbox(live)
    inbox.put("a")
    live.add("files.py", inbox.source)
    inbox.wait_for("a")
    live.add("files.py", "")
    assert live.call("triggers")["triggers"] == []
    looks = len(inbox.looks())
    inbox.put("b")
    live.add("files.py", inbox.source)
    inbox.wait_for("a", "b")
    assert inbox.looks()[looks]["cursor"] == "a"


def test_a_trigger_is_not_enqueued_and_unknown_ones_are_not_found(live: Project, capsys: pytest.CaptureFixture[str]) -> None:
    inbox = Inbox(live, every="1h")
    live.add("files.py", inbox.source)
    for verb in ("pause", "resume", "run"):
        assert cli(live, "triggers", verb, inbox.name.replace("files", "flies")) == 5
        assert f"did you mean `{inbox.name}`?" in capsys.readouterr().err
    assert cli(live, "enqueue", inbox.name) == 5
    assert f"tako-lite triggers run {inbox.name}" in capsys.readouterr().err
