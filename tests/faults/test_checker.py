"""The checker finds what it is there to find: each kind of broken promise, put into the log or the queue of a sound project."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import teardown
from tests.support.checker import violations
from tests.support.event_log import LOG, EventLog
from tests.support.handler_probe import Traces
from tests.support.project import Project, wait_until

pytestmark = pytest.mark.sqlite

WORKFLOWS = """
    @workflow("pays")
    async def pays(payload, step: Step):
        await step.run("charge", lambda: 100)
        return await step.run("receipt", lambda: "x" * 5_000)

    @workflow("holds", limit=1)
    async def holds(payload):
        witness("holds")
        await asyncio.sleep(60)
"""


class Sound(NamedTuple):
    """A project in which all went well, and its one run, whose token is 1."""

    root: Path
    run: str


@pytest.fixture(scope="module")
def kept(live: Project) -> Sound:
    """The project of this module, after a run that went well; its daemon has stopped."""
    live.add("a.py", WORKFLOWS)
    run = live.run("pays")
    assert live.stop() == 0
    assert judge(live.root) == []
    return Sound(live.root, run["id"])


@pytest.fixture
def sound(kept: Sound, tmp_path: Path) -> Sound:
    """A copy of its log and of its queue, for one test to break."""
    (tmp_path / ".tako").mkdir()
    for file in (LOG, ".tako/queue.db"):
        shutil.copy(kept.root / file, tmp_path / file)
    return Sound(tmp_path, kept.run)


def judge(root: Path) -> list[str]:
    return violations(root / LOG, root / ".tako/queue.db")


def fact(kind: str, **facts: Any) -> Callable[[Sound], None]:
    """A fact that is added to the log."""
    return lambda sound: EventLog(sound.root / LOG).write(kind, run=sound.run, **facts)


def change(statement: str) -> Callable[[Sound], None]:
    """A change of the queue behind the daemon's back."""

    def make(sound: Sound) -> None:
        with closing(sqlite3.connect(sound.root / ".tako/queue.db")) as queue:
            assert queue.execute(statement).rowcount == 1
            queue.commit()

    return make


BROKEN: dict[str, tuple[Callable[[Sound], None], str]] = {
    "another end": (fact("ended", state="dead", result=None, attempts=1), "ended succeeded and dead"),
    "an attempt after the end": (fact("start", token=2, attempt=2, alive=[]), "attempt 2 started after the end"),
    "an older token": (fact("start", token=0, attempt=1, alive=[]), "token 0 came after 1"),
    "a late write": (fact("tick", step="charge", token=0), "tick of token 0"),
    "two at once": (fact("start", token=2, attempt=1, alive=["7 7 1 R"]), "started while 7 7 1 R was alive"),
    "a body again": (fact("body", step="charge", token=1), "step charge ran again"),
    "another value": (fact("saved", step="charge", token=1, value=99), "step charge was 100 and became 99"),
    "a run that is lost": (change("DELETE FROM runs"), "is not in the queue, but it acked"),
    "a result that is lost": (change("UPDATE large_values SET value = '1' WHERE kind = 'result'"), "was seen succeeded"),
    "a step that is lost": (change("DELETE FROM steps WHERE name = 'charge'"), "step charge is not stored"),
    "a wait that is left": (change("INSERT INTO waits SELECT id, 'n', 'sleep', NULL, 1, 1 FROM runs"), "waits for n"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_breaks_a_promise_is_found(sound: Sound, broken: str) -> None:
    breaks, words = BROKEN[broken]
    breaks(sound)
    assert any(words in what for what in judge(sound.root)), judge(sound.root)


def test_a_run_that_starts_again_after_it_was_cancelled_is_found(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    run_id = project.enqueue("holds", delay=3600)
    with project.client() as client:
        assert client.cancel(run_id) == {run_id: "cancelled"}
    assert project.stop() == 0
    assert judge(project.root) == []
    project.spoilt = "the test breaks the promises itself"
    EventLog(project.root / LOG).write("start", run=run_id, token=1, attempt=1, alive=[])
    assert any("start after it was cancelled" in what for what in judge(project.root))


def test_an_attempt_sees_whether_a_process_of_an_earlier_one_is_alive(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (tmp_path / "attempts/run").write_text("")
        traces = Traces(tmp_path, "run")
        traces.note(process.pid, "+", token=1)
        assert len(traces.alive()) == 1
        process.kill()
        wait_until(lambda: not traces.alive(), "it is dead, though nobody has collected it")
        traces.note(os.getpid(), "+", token=2)
        assert len(traces.alive()) == 1
        traces.note(os.getpid(), "-", token=2)
        assert traces.alive() == []


def test_a_descriptor_that_the_daemon_keeps_open_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "SETTLED_LIMIT", 1.0)
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.enqueue("holds")
    project.wait_for_fact("holds")
    project.descriptors -= 8  # as if it had so many more by now
    with pytest.raises(AssertionError, match="no descriptor is left open"):
        teardown.tear_down(project)
    project.spoilt = "it has ended already"
