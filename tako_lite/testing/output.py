"""What handlers print and log: it goes to the streams of the test, and to the log of the run."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tako_lite.clock import Clock
from tako_lite.config.monitor_settings import LogSettings
from tako_lite.daemon.events import Events
from tako_lite.daemon.logs import Logs
from tako_lite.worker.output import RunFormatter
from tako_lite.worker.run import current_run


class MemoryLogs(Logs):
    """The logs of all groups, kept in memory by run."""

    def __init__(self, folder: Path, clock: Clock, events: Events) -> None:
        super().__init__(folder, clock, events)
        self.lines: defaultdict[str, list[str]] = defaultdict(list)
        self._partial: dict[str, str] = {}

    def apply(self, settings: LogSettings) -> None:
        """There are no files."""

    def note(self, group: str, run: str, pid: int, text: str) -> None:
        self.lines[run].append(text)

    def of(self, run: str) -> list[str]:
        """The lines of a run; the last one may have no newline yet."""
        partial = self._partial.get(run)
        return [*self.lines.get(run, ()), *([partial] if partial else ())]

    def write(self, text: str) -> None:
        """Add what a run printed; what is printed outside of runs is not kept."""
        if (run := current_run.get()) is not None:
            *whole, rest = (self._partial.pop(run.run_id, "") + text).split("\n")
            self.lines[run.run_id] += whole
            if rest:
                self._partial[run.run_id] = rest

    @contextmanager
    def reading_streams(self) -> Iterator[None]:
        """Keep what runs print, until the end of the block."""
        before = sys.stdout, sys.stderr
        ours = sys.stdout, sys.stderr = _Tee(sys.stdout, self), _Tee(sys.stderr, self)
        try:
            yield
        finally:
            if sys.stdout is ours[0]:  # a debugger may have replaced them
                sys.stdout = before[0]
            if sys.stderr is ours[1]:
                sys.stderr = before[1]


class _Tee:
    """A stream that also adds what is written to the log of the current run."""

    def __init__(self, stream: Any, logs: MemoryLogs) -> None:
        self._stream = stream
        self._logs = logs

    def write(self, text: str) -> int:
        self._logs.write(text)
        return int(self._stream.write(text))

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RunLogHandler(logging.Handler):
    """Adds what handlers log with `step.log` to the log of their run, for the life of a `Tako`."""

    def __init__(self, logs: MemoryLogs) -> None:
        super().__init__(logging.DEBUG)
        self._logs = logs
        self.setFormatter(RunFormatter("%(levelname)s %(message)s"))
        self._logger = logging.getLogger("tako_lite.run")
        self._level = self._logger.level

    def install(self) -> None:
        """Start to listen."""
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)

    def remove(self) -> None:
        """Stop listening."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        self._logs.write(f"{self.format(record)}\n")
