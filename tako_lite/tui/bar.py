"""The progress bar of many runs being enqueued, or of rows being copied."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class RunBar:
    """A progress bar on a console, erased at the end. Without a total it only counts."""

    def __init__(self, console: Console, total: int | None, label: str = "enqueueing") -> None:
        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._progress.stop()

    def add(self, count: int) -> None:
        """Add `count` stored runs or rows to the bar."""
        self._progress.advance(self._task, count)
