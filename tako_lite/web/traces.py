"""A traceback for people: frames of the project stand out, and those of libraries are folded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_FRAME: Final = re.compile(r'[ |+-]*File "(?P<file>[^"]*)", line \d+')
_CONTINUED: Final = re.compile(r"[ |+-]{4}")


class Part(NamedTuple):
    """Lines that belong together: frames of the project, frames of libraries, or text between frames."""

    kind: str
    text: str
    frames: int


def parts(traceback: str, root: Path) -> list[Part]:
    """The parts of a traceback, in order."""
    found: list[Part] = []
    kind = "text"
    for line in traceback.rstrip("\n").split("\n"):
        frame = _FRAME.match(line)
        if frame:
            kind = "own" if _is_own(frame["file"], root) else "library"
        elif kind != "text" and not _CONTINUED.match(line):
            kind = "text"
        if found and found[-1].kind == kind:
            last = found[-1]
            found[-1] = Part(kind, f"{last.text}\n{line}", last.frames + (frame is not None))
        else:
            found.append(Part(kind, line, int(frame is not None)))
    return found


def _is_own(file: str, root: Path) -> bool:
    return file.startswith(f"{root}/") and not any(part in file for part in ("/site-packages/", "/.venv/", "/tako_lite/"))
