"""The output of `dev`: one stream with the time, the group in its colour, the end of the run's id, and what happened."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from tako_lite.clock import iso
from tako_lite.daemon.events import Events, shortened
from tako_lite.daemon.log_format import happening
from tako_lite.names import printable
from tako_lite.records import SCHEMA
from tako_lite.units import duration_text

if TYPE_CHECKING:
    from tako_lite.daemon.worker_session import WorkerSession
    from tako_lite.engine import StepState
    from tako_lite.errors import Mistake
    from tako_lite.processes.child import Exit
    from tako_lite.processes.worker import Worker

logger = logging.getLogger("tako_lite")

NARROWEST: Final = 7
WIDEST: Final = 16
"""Characters of a group's name."""
SHOWN_ID: Final = 4
_COLOURS: Final = ("36", "35", "34", "33", "32", "96", "95", "94")
"""Of groups, in the order of their names; red is for errors."""
_LEVELS: Final = ((logging.ERROR, "31"), (logging.WARNING, "33"))
_OURS: Final = "tako"


class ScreenFormatter(logging.Formatter):
    """`10:02:11 email   1a2b  text`; further lines of a text are indented below its first."""

    def __init__(self, groups: Iterable[str], *, colours: bool) -> None:
        super().__init__()
        self._colours = colours
        self._known: dict[str, str] = {}
        self.learn(groups)

    def learn(self, groups: Iterable[str]) -> None:
        """Give each group a colour that it keeps, and the column the width of the longest name."""
        for name in sorted(set(groups) - self._known.keys()):
            self._known[name] = _COLOURS[len(self._known) % len(_COLOURS)]
        self._width = min(max([NARROWEST, *map(len, self._known)]), WIDEST)

    def format(self, record: logging.LogRecord) -> str:
        about = happening.get()
        group = (about.group if about else None) or _OURS
        run = ((about.run if about else None) or "")[-SHOWN_ID:]
        text = super().format(record)
        head = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {_fit(group, self._width)} {run:<{SHOWN_ID}}  "
        indent = " " * len(head)
        if self._colours:
            colour = next((colour for least, colour in _LEVELS if record.levelno >= least), None)
            text = "\n".join(f"\x1b[{colour}m{line}\x1b[0m" for line in text.split("\n")) if colour else text
            at, name, tail = head[:8], head[9 : 9 + self._width], head[9 + self._width :]
            head = f"\x1b[2m{at}\x1b[0m \x1b[{self._known.get(group, '2')}m{name}\x1b[0m\x1b[2m{tail}\x1b[0m"
        return head + text.replace("\n", f"\n{indent}")


class LineFormatter(logging.Formatter):
    """One JSON object for each line, for `dev --json`; docs/cli.md lists its keys."""

    def format(self, record: logging.LogRecord) -> str:
        about = happening.get()
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "at": iso(round(record.created * 1000)),
            "level": record.levelname.lower(),
            "event": about.event if about else getattr(record, "event", "other"),
            "group": about.group if about else None,
            "run": about.run if about else None,
            "pid": about.worker if about else None,
            "text": super().format(record),
        }
        return json.dumps({**line, **getattr(record, "facts", {})}, ensure_ascii=False)


class DevEvents(Events):
    """The events in few words: the line has the group and the run already."""

    deaths = 0
    """Runs that died."""
    is_quiet = False
    """Whether the end of the daemon is expected, and needs no line."""

    def serving(self, name: str, root: str, groups: int, workflows: int) -> None:
        """The first screen says it."""

    def dashboard(self, address: str) -> None:
        """The first screen says it."""

    def stopping(self, reason: str, how_to_kill: str = "") -> None:
        if not self.is_quiet:
            logger.info("stopping; press again to kill what runs")

    def stopped(self) -> None:
        """The last line of a stop says nothing that the prompt does not."""

    def reloaded(self, changed: list[str]) -> None:
        if changed:
            logger.info("reloaded: %s", ", ".join(changed))

    def worker_ready(self, worker: Worker) -> None:
        super().worker_ready(worker)
        logger.info("worker %d started in %s", worker.pid, _took(worker.ready_at - worker.spawned_at))

    def worker_gone(self, worker: Worker, exit: Exit, runs: int, fate: str = "") -> None:
        if worker.retired_for == "idle" and not runs:
            logger.info("worker %d gone: nothing to do", worker.pid)
        else:
            super().worker_gone(worker, exit, runs, fate)

    def run_started(self, session: WorkerSession, run_id: str, workflow: str, attempt: int, attempts: int) -> None:
        logger.info("▶ %s%s", workflow, "" if attempt == 1 else f" (attempt {attempt} of {attempts})")

    def step_ended(self, session: WorkerSession, run_id: str, step: str, state: StepState, seconds: float) -> None:
        logger.info("%s %s %s", "✓" if state == "succeeded" else "✗", step, _took(seconds))

    def run_succeeded(self, session: WorkerSession, run_id: str, workflow: str, seconds: float, result: str) -> None:
        logger.info("✔ %s %s → %s", workflow, _took(seconds), printable(shortened(result)))

    def run_parked(self, session: WorkerSession, run_id: str, workflow: str, waits: list[str]) -> None:
        logger.info("⏸ parked %s", printable(shortened(", ".join(waits))))

    def run_stopped(self, session: WorkerSession, run_id: str, workflow: str, what: str) -> None:
        logger.info("■ %s %s", workflow, printable(shortened(what)))

    def attempt_failed(self, group: str, run_id: str, what: str) -> None:
        logger.warning("✗ %s", what.replace(f" (run {run_id})", ""))

    def steps_changed(self, group: str, run_id: str, what: str) -> None:
        logger.warning("! %s", what.replace(f" (run {run_id})", "").replace(run_id, run_id[-8:]))

    def run_died(self, group: str, run_id: str, what: str) -> None:
        self.deaths += 1
        logger.error("✗ %s", what.replace(f" (run {run_id})", "").replace(run_id, run_id[-8:]))

    def output(self, group: str, run_id: str | None, text: str) -> None:
        logger.info("%s", printable(text))

    def broken(self, mistakes: Sequence[Mistake]) -> None:
        """Files were saved with a mistake; their workflows are refused until it is fixed."""
        for mistake in mistakes:
            logger.error("%s", printable(str(mistake)))

    def fixed(self, files: Sequence[str]) -> None:
        """Files were saved without the mistakes that were reported."""
        logger.info("%s: no mistake any more", printable(", ".join(files)))

    def said(self, text: str) -> None:
        """An answer to a key."""
        logger.info("%s", printable(text))

    def opened(self, lines: Sequence[str], facts: dict[str, Any]) -> None:
        """The first screen."""
        logger.info("%s", "\n".join(lines), extra={"facts": facts})


def _took(seconds: float) -> str:
    return duration_text(round(seconds, 3)) if seconds < 10 else duration_text(round(seconds))


def _fit(name: str, width: int) -> str:
    return f"{name:<{width}}" if len(name) <= width else f"{name[: width - 1]}…"
