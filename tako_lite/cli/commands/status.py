"""`status`: the groups, printed once or redrawn every second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import click

from tako_lite.cli.options import command, json_option
from tako_lite.cli.output import console, draw, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.clock import SystemClock

PAUSE: Final = 1.0
"""Seconds between two snapshots."""

Snapshot = dict[str, Any]


@command
@click.option("-w", "--watch", is_flag=True, help="Refresh every second until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show the groups, their workers and their backlogs.

    With --watch, a terminal shows a table that is redrawn, and a pipe or file gets plain lines, or with --json one document
    per line. Ctrl-C ends it with exit code 0. Without a daemon, the queue itself is read.
    """
    queue = QueueReader()
    if not watch:
        _show(queue.ask("status"), as_json=as_json)
        return
    with suppress(KeyboardInterrupt):  # Ctrl-C is the normal end
        _watch(queue, as_json=as_json)


def _show(snapshot: Snapshot, *, as_json: bool) -> None:
    if as_json:
        write_json(snapshot)
        return
    from tako_lite.tui.status import status_view

    draw(status_view(snapshot))


def _watch(queue: QueueReader, *, as_json: bool) -> None:
    if as_json:
        _repeat(queue, write_json)
    elif console().is_terminal:
        _redraw(queue)
    else:
        _repeat(queue, _write_lines)


def _repeat(queue: QueueReader, print_one: Callable[[Snapshot], None]) -> None:
    for snapshot in _snapshots(queue):
        print_one(snapshot)


def _write_lines(snapshot: Snapshot) -> None:
    from tako_lite.tui.status import status_lines

    for line in status_lines(snapshot, SystemClock().now()):
        write(line)


def _redraw(queue: QueueReader) -> None:
    from rich.live import Live

    from tako_lite.tui.status import status_view

    with Live(console=console(), auto_refresh=False) as live:
        for snapshot in _snapshots(queue):
            live.update(status_view(snapshot), refresh=True)


def _snapshots(queue: QueueReader) -> Iterator[Snapshot]:
    while True:
        yield queue.ask("status")
        time.sleep(PAUSE)
