"""What the plugin for pytest does once a test uses it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.testing.tako import Tako

if TYPE_CHECKING:
    import pytest


@contextmanager
def tako(request: pytest.FixtureRequest, config: Path | None) -> Iterator[Tako]:
    """The fixture `tako`; the mark of the same name has options for `Tako`."""
    options: dict[str, Any] = {} if config is None else {"project": config}
    for mark in reversed([*request.node.iter_markers("tako")]):
        options.update(mark.kwargs)
    mode = options.pop("mode", request.config.getini("tako_mode"))
    made = Tako(**options)
    made.mode = mode
    try:
        yield made
    finally:
        if _has_failed(request):
            made.abandon()
        else:
            made.close()


def _has_failed(request: pytest.FixtureRequest) -> bool:
    return bool(getattr(request.node, "tako_failed", False))


def explain(made: Tako, report: Any, *, keep: bool) -> None:
    """Add the runs and their logs to the report of a failed test."""
    if made.is_closed:
        return
    text = made.describe_with_logs() or "there are no runs"
    if keep:
        text = f"{text}\n\n{_kept(made)}"
    report.sections.append(("tako-lite runs", text))


def _kept(made: Tako) -> str:
    """Copy the queue to where it stays; how to look at it."""
    folder = Path(tempfile.mkdtemp(prefix="tako-kept-"))
    made.command("backup", file=str(folder / "queue.db"))
    (folder / "tako.toml").write_text('[queue]\nurl = "sqlite:///queue.db"\n')
    (folder / "workflows").mkdir()
    for run in made.runs():
        return f"kept: tako-lite -c {folder} runs\n      tako-lite -c {folder} show {run.id[-8:]}"
    return f"kept: tako-lite -c {folder} runs"
