"""Fingerprints: the same short text for errors that are the same mistake, whatever ids and numbers they mention.

The idea is that of Sentry's and Trigger.dev's error groups: the type of the innermost cause and the functions that raised it,
without line numbers, so that an edit above does not split a group. The message counts only where the frames say too little.
The first digit is the version of the algorithm.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final

VERSION: Final = "1"
FRAMES: Final = 5
"""The innermost frames that count."""
MAX_MESSAGE: Final = 200

_GENERAL: Final = frozenset({"RuntimeError", "ValueError", "Exception", "AssertionError", "OSError"})
"""Built-in types that say little by themselves, so that the message tells their errors apart."""
_VARIABLE: Final = tuple(
    (re.compile(pattern), mark)
    for pattern, mark in (
        (r"[a-z][a-z0-9+.-]*://\S+", "<url>"),
        (r"[^\s@<>'\"]+@[^\s@<>'\"]+\.\w+", "<email>"),
        (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "<uuid>"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "<ip>"),
        (r"\b0x[0-9a-fA-F]+", "<hex>"),
        (r"'[^']{20,}'|\"[^\"]{20,}\"", "<text>"),
        (r"(?<![\w<])(?:/[\w.@+-]+){2,}/?", "<path>"),
        (r"\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{8,}\b", "<hex>"),
        (r"(?<![A-Za-z_])\d+(?:\.\d+)?", "<n>"),
    )
)


def fingerprint_of_word(word: str, message: str = "") -> str:
    """The fingerprint of a failure without an exception, such as `crashed`."""
    return _digest("reason", word, normalized(message))


def fingerprint_of_error(error: BaseException, root: Path) -> str:
    """The fingerprint of an exception: its innermost cause, and the last functions of the project below `root` in it."""
    cause = _innermost(error)
    kind = type(cause)
    frames = _frames(cause.__traceback__ or error.__traceback__, root)
    project = [frame for frame in frames if frame[0] not in "/<"]
    says_little = not project or (kind.__module__ == "builtins" and kind.__name__ in _GENERAL)
    message = normalized(_text(cause)) if says_little else ""
    return _digest(f"{kind.__module__}.{kind.__qualname__}", message, *(project or frames)[-FRAMES:])


def normalized(message: str) -> str:
    """The first line of a message, with a mark in the place of each id, number, time, address and path."""
    line = message.strip().partition("\n")[0][: 4 * MAX_MESSAGE]
    for pattern, mark in _VARIABLE:
        line = pattern.sub(mark, line)
    return line[:MAX_MESSAGE]


def _innermost(error: BaseException) -> BaseException:
    """The first cause: what was raised first, of a group of errors the first one."""
    seen = {id(error)}
    while True:
        if isinstance(error, BaseExceptionGroup):
            inner: BaseException | None = error.exceptions[0]
        else:
            inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if inner is None or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner


def _frames(traceback: TracebackType | None, root: Path) -> list[str]:
    """`file:function` for each frame, the file relative to the root where it lies below it."""
    below = f"{root}{os.sep}"
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        name = code.co_filename.removeprefix(below)
        frames.append(f"{name}:{code.co_qualname}")
        traceback = traceback.tb_next
    return [frame for frame in frames if "/site-packages/" not in frame] or frames


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # an error in the user's `__str__`
        return ""


def _digest(*parts: str) -> str:
    texts: Iterable[bytes] = (part.encode("utf-8", "backslashreplace") for part in parts)
    return VERSION + hashlib.sha256(b"\0".join(texts)).hexdigest()[:15]
