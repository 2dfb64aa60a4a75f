"""The live status of the groups, which the demo shows while it works."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live

from tako_lite.client import Client
from tako_lite.clock import SystemClock
from tako_lite.errors import TakoError
from tako_lite.tui.status import status_lines, status_view


class Screen:
    """Redraws the status on a terminal, or prints plain lines every few seconds elsewhere, until the `with` block ends.

    It has its own client, so that watching does not disturb what is measured.
    """

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._client = Client(folder)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Screen:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _watch(self) -> None:
        try:
            if self._console.is_terminal:
                self._redraw()
            else:
                self._report()
        except TakoError:
            pass  # the daemon no longer answers; the code that runs the rush reports it

    def _redraw(self) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while not self._over.wait(0.25):
                live.update(status_view(self._client.status()), refresh=True)

    def _report(self) -> None:
        while not self._over.wait(4):
            print_lines(self._console, self._client.status())


def print_lines(console: Console, snapshot: dict[str, Any]) -> None:
    """Print one plain line for each group that has processes."""
    snapshot = {**snapshot, "groups": [group for group in snapshot["groups"] if group["state"] != "zero"]}
    for line in status_lines(snapshot, SystemClock().now()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
