"""Reports failed attempts and dead runs: a line in the daemon's log, and one in the log of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tako_lite.daemon.events import Events
from tako_lite.daemon.logs import Logs
from tako_lite.names import printable
from tako_lite.reached import sentences
from tako_lite.records import Claimed, Failure
from tako_lite.store.base import EndedRun
from tako_lite.units import duration_text

MOST_STEPS: Final = 10
MAX_ERROR: Final = 300
"""Characters of an error in a line of the log; `show` has all of it."""


class RunReports:
    """Words what people are to know of a run that failed."""

    def __init__(self, events: Events, logs: Logs) -> None:
        self._events = events
        self._logs = logs

    def attempt_failed(self, group: str, run: Claimed, failure: Failure, delay: float, pid: int) -> None:
        """An attempt failed, and its run will be attempted again after `delay` seconds."""
        error = _error(failure.type, failure.message)
        about = f"attempt {run.attempts + 1} of {run.max_attempts}"
        what = f"failed and will be retried in {duration_text(round(delay, 3))}: {error}"
        self._events.attempt_failed(group, run.id, f"{about} of {run.workflow} (run {run.id}) {what}")
        self._logs.note(group, run.id, pid, f"tako-lite: {about} {what}")

    def steps_not_reached(self, group: str, run: Claimed, steps: Sequence[str], unknown: Sequence[str], pid: int) -> None:
        """An attempt did not reach stored steps again, and its run continues all the same."""
        for about in sentences(steps, unknown)[:MOST_STEPS]:
            self._events.steps_changed(group, run.id, f"{run.workflow} (run {run.id}): {printable(about)}")
            self._logs.note(group, run.id, pid, f"tako-lite: warning: {printable(about)}")

    def held(self, group: str, run: Claimed, steps: Sequence[str], unknown: Sequence[str], pid: int) -> None:
        """A run is held because of that."""
        about = printable(", ".join(sentences(steps, unknown)[:MOST_STEPS]))
        then = f"see `tako-lite why {run.id}`"
        self._events.steps_changed(group, run.id, f"{run.workflow} (run {run.id}) is held: {about}; {then}")
        self._logs.note(group, run.id, pid, f"tako-lite: the run is held: {about}; {then}")

    def died(self, run: EndedRun) -> None:
        """A run ended `dead`."""
        error = _error(run.error_type, run.error_message)
        self._events.run_died(
            run.group, run.run_id, f"{run.workflow} (run {run.run_id}) is dead: {error}; see `tako-lite show {run.run_id}`"
        )
        self._logs.note(run.group, run.run_id, run.worker_pid or 0, f"tako-lite: the run is dead: {error}")


def _error(type: str | None, message: str | None) -> str:
    text = printable(f"{type or 'Error'}: {(message or '').strip().partition(chr(10))[0]}")
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}…"
