"""The formats of the daemon's own log: text for people, JSON for collectors, and what journald understands.

While a method of `Events` logs, `happening` has its name and the group, the run and the worker that it is about.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, NamedTuple

from tako_lite.clock import iso, local

LogFormat = Literal["text", "json", "journald", "auto"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json", "journald", "auto")
UNEXPECTED: Final = "unexpected_error"
OTHER: Final = "other"
"""The event of a line that no method of `Events` wrote, such as one of the event loop."""
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels, and the priorities of sd-daemon(3) from there on."""
_DEBUG: Final = 7
_COLOURS: Final = ((logging.ERROR, "31"), (logging.WARNING, "33"))


class Happening(NamedTuple):
    """What a line of the log is about."""

    event: str
    group: str | None = None
    run: str | None = None
    worker: int | None = None


happening: Final[ContextVar[Happening | None]] = ContextVar("happening", default=None)


class TextFormatter(logging.Formatter):
    """`2026-11-21 08:30:00.125+01:00 INFO message`, in colours on a terminal."""

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        time, level, message = local(round(record.created * 1000)), record.levelname, super().format(record)
        if self._colours:
            colour = next((colour for least, colour in _COLOURS if record.levelno >= least), "0")
            return f"\x1b[2m{time}\x1b[0m \x1b[{colour}m{level}\x1b[0m {message}"
        return f"{time} {level} {message}"


class JournaldFormatter(logging.Formatter):
    """Each line with its priority in front, `<4>message`, and without a time: journald has its own."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for least, number in _PRIORITIES if record.levelno >= least), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object; a traceback is in `traceback`. docs/monitoring.md lists the keys and the events."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        about = happening.get() or Happening(getattr(record, "event", OTHER))
        line: dict[str, Any] = {
            "at": iso(round(record.created * 1000)),
            "level": record.levelname.lower(),
            **about._asdict(),
            "server": self._server,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def formatter(wanted: LogFormat, server: str, environment: Mapping[str, str], descriptor: int = 2) -> logging.Formatter:
    """The formatter for lines to a descriptor; `auto` is `journald` under systemd, else `text`."""
    if wanted == "auto" and _is_journal(environment.get("JOURNAL_STREAM", ""), descriptor):
        wanted = "journald"
    if wanted == "json":
        return JsonFormatter(server)
    if wanted == "journald":
        return JournaldFormatter()
    return TextFormatter(colours=os.isatty(descriptor) and not environment.get("NO_COLOR"))


def _is_journal(stream: str, descriptor: int) -> bool:
    """Whether a descriptor is the stream to the journal that systemd names: its device and inode, see systemd.exec(5)."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
