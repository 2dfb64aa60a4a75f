"""`enqueue --jsonl`: one run for each line of a file or pipe, in constant memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Final, Protocol

import click

from tako_lite.cli.output import console, json_text, warn, write
from tako_lite.cli.payload import open_file, stdin, without_mark
from tako_lite.cli.payload_check import Check
from tako_lite.client import Client
from tako_lite.client.requests import Ids
from tako_lite.errors import BadInput
from tako_lite.records import SCHEMA
from tako_lite.units import counted
from tako_lite.wire import MAX_VALUE, parse_value

BATCH: Final = 5_000
"""Number of runs whose ids are kept in memory at a time."""
SHOWN_MISTAKES: Final = 20
_LONGEST: Final = MAX_VALUE + 5
"""Maximum bytes of a line: a byte order mark, a value and a line end."""

Options = dict[str, Any]


class Bar(Protocol):
    """Where progress is shown."""

    def add(self, count: int) -> None:
        """Count that many more stored runs."""


def enqueue_lines(client: Client, workflow: str, source: str, options: Options, check: Check, *, as_json: bool) -> int:
    """Enqueue the lines of a file, or of stdin for `-`.

    A file that can be read twice is checked first: nothing is enqueued unless every line is valid. A pipe is enqueued up to
    its first mistake, and the error tells at which line to continue.
    """
    opened: AbstractContextManager[BinaryIO] = nullcontext(stdin()) if source == "-" else open_file(source)
    with opened as stream:
        name = "stdin" if source == "-" else source
        total = _checked(stream, name, check) if stream.seekable() else None
        lines = Lines(stream, name, check)
        with _ids_out(as_json) as ids_out, _progress(total) as bar:
            stored, refused, warning = 0, 0, None
            while ids := client.enqueue_many(workflow, islice(lines, BATCH), **options):
                warning = ids.warning
                ids_out(ids)
                bar.add(len(ids))
                stored += len(ids)
                refused += ids.refused
    if lines.mistakes:
        hint = f"enqueued {counted(stored, 'run')} before it; continue from line {lines.number}"
        raise BadInput(lines.mistakes[0], hint=hint)
    if not as_json:
        write(f"{counted(stored, 'run')} enqueued")
    warn(warning)
    if refused:
        warn(f"{refused:,} of {counted(stored, 'run')} ended at once; `tako-lite show RUN` shows the reason")
    return int(refused > 0)


@dataclass
class Lines:
    """The values of the lines of a stream; blank lines are skipped.

    It ends at the first mistake; with `keep_going`, it collects up to `SHOWN_MISTAKES` of them.
    """

    stream: BinaryIO
    name: str
    check: Check
    keep_going: bool = False
    number: int = 0
    mistakes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while not self.mistakes or (self.keep_going and len(self.mistakes) < SHOWN_MISTAKES):
            line = self._read()
            if not line:
                raise StopIteration
            try:
                if line.strip():
                    value = parse_value(line.rstrip(b"\r\n"), f"line {self.number}")
                    self._check(value)
                    return value
            except BadInput as error:
                self.mistakes.append(error.message + _remedy(line, error.message))
        raise StopIteration

    def _check(self, value: Any) -> None:
        try:
            self.check(value)
        except BadInput as error:
            raise BadInput(f"line {self.number}: {error.message} ({error.hint})") from None

    def _read(self) -> bytes:
        """The next line. Of a line that is too long, it returns a part that is still too long and skips the rest."""
        self.number += 1
        line = self.stream.readline(_LONGEST)
        rest = line
        while len(rest) == _LONGEST and not rest.endswith(b"\n"):
            rest = self.stream.readline(_LONGEST)
        return without_mark(line, self.name) if self.number == 1 else line


def _remedy(line: bytes, message: str) -> str:
    """A hint in parentheses, or nothing."""
    if " is not JSON" not in message:
        return ""
    from tako_lite.cli.almostjson import json_hint  # only needed once something is wrong

    hint = json_hint(line.decode("utf-8", "replace"), message)
    return f" ({hint})" if hint else ""


def _checked(stream: BinaryIO, name: str, check: Check) -> int:
    """Count the values of a stream and rewind it. Raises BadInput with the lines that are no payload."""
    start = stream.tell()
    lines = Lines(stream, name, check, keep_going=True)
    count = sum(1 for _ in lines)
    if lines.mistakes:
        more = "\n(only the first mistakes are shown)" if len(lines.mistakes) == SHOWN_MISTAKES else ""
        raise BadInput("\n".join(lines.mistakes) + more, hint="nothing was enqueued")
    stream.seek(start)
    return count


@contextmanager
def _ids_out(as_json: bool) -> Iterator[Any]:
    """A function that prints ids into one JSON document, closed even after a failure; without JSON it prints nothing."""
    if not as_json:
        yield lambda ids: None
        return
    separator, refused = "", 0

    def write_ids(ids: Ids) -> None:
        nonlocal separator, refused
        refused += ids.refused
        for id in ids:
            click.echo(f'{separator}"{id}"', nl=False)
            separator = ", "

    click.echo(json_text({"schema": SCHEMA, "ids": []})[:-2], nl=False)
    try:
        yield write_ids
    finally:
        click.echo(f'], "refused": {refused}}}')


class _NoBar:
    def add(self, count: int) -> None:
        pass


@contextmanager
def _progress(total: int | None) -> Iterator[Bar]:
    """A progress bar, if stderr is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _NoBar()
        return
    from tako_lite.tui.bar import RunBar

    with RunBar(console(stderr=True), total) as bar:
        yield bar
