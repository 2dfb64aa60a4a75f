"""Shortens a traceback for users: the frames of tako-lite are left out, because they do not help to find a user's mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pkgutil import iter_modules
from typing import Final

import tako_lite

_FRAME: Final = re.compile(r'( *(?:[|+] *)*)File "(?P<file>[^"]*)", line \d+')
_OURS: Final = re.compile(r"/tako_lite/(?P<module>\w+)(?:\.py$|/)")
_OUR_THREADS: Final = "/concurrent/futures/thread.py"
"""The executor calls handlers without `async` through this file."""


def without_our_frames(traceback: str) -> tuple[str, int]:
    """The traceback without our frames, and how many lines were left out. One that has only our frames stays as it is."""
    return _without(traceback, _is_ours)


def with_frames_below(traceback: str, folder: str) -> str:
    """The traceback with only the frames of files below a folder. One that has no such frame stays as it is."""
    return _without(traceback, lambda file: not file.startswith(f"{folder}/") or "/site-packages/" in file)[0]


def _without(traceback: str, omits: Callable[[str], bool]) -> tuple[str, int]:
    """The traceback without the frames of some files, and how many lines were left out."""
    lines = traceback.splitlines()
    kept, frames = list[str](), 0
    for line, is_frame, is_omitted in _told_apart(lines, omits):
        if not is_omitted:
            kept.append(line)
            frames += is_frame
    return ("\n".join(kept), len(lines) - len(kept)) if frames else (traceback, 0)


def _told_apart(lines: list[str], omits: Callable[[str], bool]) -> Iterator[tuple[str, bool, bool]]:
    """Each line, whether it starts a frame, and whether it belongs to a frame that is omitted."""
    is_omitted, indent = False, 0
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            is_omitted, indent = omits(frame["file"]), len(frame[1])
        elif is_omitted and not line[indent : indent + 2].isspace():  # after the frames: a message, or another traceback
            is_omitted = False
        yield line, frame is not None, is_omitted


def _is_ours(file: str) -> bool:
    found = _OURS.search(file)
    return file.endswith(_OUR_THREADS) or (found is not None and found["module"] in _our_modules())


@cache
def _our_modules() -> frozenset[str]:
    return frozenset(module.name for module in iter_modules(tako_lite.__path__))
