"""Reports every run, step and line of output as an event, for `serve --verbose` and `dev`; nothing calls it otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tako_lite.clock import Clock
from tako_lite.daemon.events import Events
from tako_lite.daemon.worker_session import Assignment, WorkerSession
from tako_lite.protocol.items import AddWait, InvokeChild, RunBailed, RunPostponed, SaveStep
from tako_lite.records import Claimed, Failure
from tako_lite.trigger_options import EVALUATION
from tako_lite.tui.traces import with_frames_below, without_our_frames


class Narrator:
    """Words nothing itself: it calls the methods of `Events` that only these two commands use."""

    def __init__(self, events: Events, clock: Clock, root: Path) -> None:
        self._events = events
        self._clock = clock
        self._root = str(root)
        self._waits: dict[str, dict[str, str]] = {}
        """What the waits of each run are for, by their names, until it parks or ends."""

    def runs_started(self, session: WorkerSession, runs: Iterable[Claimed]) -> None:
        """Runs were pushed to a worker. Evaluations of triggers are not told: they come every few seconds."""
        for run in runs:
            if not run.workflow.startswith(EVALUATION):
                self._events.run_started(session, run.id, run.workflow, run.attempts + 1, run.max_attempts)

    def steps_saved(self, session: WorkerSession, steps: Iterable[SaveStep]) -> None:
        """The outcomes of steps are stored."""
        now = self._clock.now()
        for step in steps:
            took = max(now - step.started_at, 0) / 1000
            self._events.step_ended(session, step.run_id, step.name, step.state, took)

    def waits(self, item: AddWait | InvokeChild) -> None:
        """A run begins to wait; it parks soon, if it does nothing else."""
        self._waits.setdefault(item.run_id, {})[item.name] = _awaited(item)

    def run_succeeded(self, session: WorkerSession, assignment: Assignment, result: str) -> None:
        """A run succeeded, and its result is stored."""
        run = assignment.claimed
        self._waits.pop(run.id, None)
        self._events.run_succeeded(session, run.id, run.workflow, _seconds(assignment), result)

    def run_left(self, session: WorkerSession, assignment: Assignment, item: Any) -> None:
        """An attempt ended without a result, and without a failure."""
        run = assignment.claimed
        known = self._waits.pop(run.id, {})
        if item.kind == "parked":
            self._events.run_parked(session, run.id, run.workflow, [known.get(name, name) for name in item.waits])
        elif isinstance(item, RunBailed):
            self._events.run_stopped(session, run.id, run.workflow, f"was cancelled by its handler: {item.reason}")
        elif isinstance(item, RunPostponed):
            self._events.run_stopped(session, run.id, run.workflow, f"starts again in {item.delay:g} s")
        elif item.kind == "cancelled":
            self._events.run_stopped(session, run.id, run.workflow, "was cancelled")
        elif item.kind == "given":
            self._events.run_stopped(session, run.id, run.workflow, "was re-queued, because its worker is being stopped")

    def attempt_raised(self, group: str, run: Claimed, failure: Failure) -> None:
        """An attempt failed; the outcome of its run is reported by `RunReports`."""
        if failure.traceback:
            shown = with_frames_below(without_our_frames(failure.traceback)[0], self._root)
            self._events.attempt_raised(group, run.id, shown)

    def printed(self, line: Mapping[str, Any], group: str) -> None:
        """A worker printed a line."""
        self._events.output(group, line["run"], line["text"])


def _awaited(item: AddWait | InvokeChild) -> str:
    """What a wait is for: `until 02:14:05`, `for signal approval:17`."""
    if isinstance(item, InvokeChild):
        return f"for {item.workflow}"
    until = "" if item.wake_at is None else f"until {_time_of_day(item.wake_at)}"
    if item.step_kind == "signal":
        return f"for signal {item.key}{f', at most {until}' if until else ''}"
    return until or f"for {item.name}"


def _time_of_day(moment: int) -> str:
    """The time of day; with the date, if it is not within a day."""
    at = datetime.fromtimestamp(moment / 1000).astimezone()
    is_near = abs(at - datetime.now().astimezone()) < timedelta(hours=20)
    return f"{at:%H:%M:%S}" if is_near else f"{at:%Y-%m-%d %H:%M}"


def _seconds(assignment: Assignment) -> float:
    return asyncio.get_running_loop().time() - assignment.since + assignment.claimed.executed_ms / 1000
