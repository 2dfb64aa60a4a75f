"""Watches handlers for effects outside of steps: files that they write, connections, programs that they start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.worker.run import current_run

_EVENTS: Final = {
    "socket.connect": "connects to {1}",
    "subprocess.Popen": "starts {0}",
    "os.system": "starts {0}",
    "os.posix_spawn": "starts {0}",
    "os.remove": "deletes {0}",
    "os.rename": "renames {0}",
    "os.mkdir": "makes the folder {0}",
}
_WRITES: Final = frozenset("wax+")
in_step: ContextVar[bool] = ContextVar("in_step", default=False)
"""Whether the body of a step is being executed."""


class Effect(NamedTuple):
    """Something that a handler did outside of a step, and where."""

    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.place} {self.what}"


_found: list[Effect] | None = None
_root = ""


@contextmanager
def watching(root: Path, wanted: bool) -> Iterator[list[Effect]]:
    """Collect the effects of handlers in this block, if that is wanted; `root` is the folder of the project."""
    global _found, _root
    found: list[Effect] = []
    if not wanted:
        yield found
        return
    _install()
    _found, _root = found, str(root)
    try:
        yield found
    finally:
        _found = None


@cache
def _install() -> None:
    """Listen to the interpreter's audit events; this cannot be undone, so it is done once."""
    sys.addaudithook(_on_event)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _found is None or (event != "open" and event not in _EVENTS):
        return
    if current_run.get() is None or in_step.get() or (place := _place()) is None:
        return
    if event == "open":
        path, mode = arguments[0], arguments[1]
        if isinstance(mode, str) and _WRITES.intersection(mode):
            _found.append(Effect(f"writes {path}", place))
    else:
        _found.append(Effect(_EVENTS[event].format(*arguments, *[""] * 2), place))


def _place() -> str | None:
    """The line of the project that is being executed; None inside an import, and where there is none."""
    frame = sys._getframe(2)
    place: str | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return None
        if place is None and file.startswith(f"{_root}/") and "/site-packages/" not in file and "/tako_lite/" not in file:
            place = f"{file.removeprefix(f'{_root}/')}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return place
