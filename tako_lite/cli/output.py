"""Printing: JSON, tables and plain lines to stdout, notes and warnings to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from tako_lite.names import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_BEHIND_ASCII_CONTROLS: Final = re.compile("[\x7f-\x9f]")


def json_text(document: Any) -> str:
    """A document on one line, with control characters escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or ""
    text = json.dumps(document, ensure_ascii=encoding.lower() not in ("utf-8", "utf8"))
    return _BEHIND_ASCII_CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def write_json(document: Mapping[str, Any]) -> None:
    """Print one document with its schema number."""
    from tako_lite.records import SCHEMA  # `health` and `enqueue` print no JSON, and start faster without

    _print(json_text({"schema": SCHEMA, **document}), sys.stdout)


def write(text: str) -> None:
    """Print a line to stdout, safe for a terminal."""
    _print(printable(text), sys.stdout)


def note(text: str) -> None:
    """Print a line to stderr, so that programs that read stdout do not see it."""
    _print(printable(text), sys.stderr)


def warn(text: str | None) -> None:
    """Print a warning to stderr, if there is one."""
    if text:
        note(f"warning: {text}")


def _print(line: str, stream: TextIO | None) -> None:
    if stream is not None:  # it is None if it is closed
        stream.write(f"{line}\n")
        stream.flush()


def draw(renderable: RenderableType) -> None:
    """Print a renderable of `tako_lite.tui`; without a terminal, lines have no trailing blanks."""
    screen = console()
    if screen.is_terminal or sys.stdout is None:
        screen.print(renderable)
        return
    with screen.capture() as drawn:
        screen.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip(' ')}\n" for line in drawn.get().removesuffix("\n").split("\n")))
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """A console that prints text unchanged (no markup, highlighting or emoji codes). Pipes and files have no width limit."""
    from rich.console import Console  # slow to import, and most commands draw nothing

    from tako_lite.tui.listing import UNBOUNDED

    stream = sys.stderr if stderr else sys.stdout
    bounded = (stream is not None and stream.isatty()) or os.environ.get("COLUMNS", "").isdecimal()
    width = None if bounded else UNBOUNDED
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)
