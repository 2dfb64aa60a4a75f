"""What the plugin for pytest does once a test uses it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.client.requests import workflow_name
from tako_lite.testing.kill import Comparison, is_same, kill_at
from tako_lite.testing.tako import Tako
from tako_lite.testing.trial import LocalTrial

if TYPE_CHECKING:
    import pytest

    from tako_lite.testing.real import TestProject


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


@contextmanager
def project(config: Path | None, folder: Path) -> Iterator[TestProject]:
    """The fixture `tako_project`: the project of the ini file or of the current folder, served from a temporary one."""
    from tako_lite.config import locate
    from tako_lite.testing.real import TestProject

    source = config or locate() or Path.cwd()
    with TestProject(folder / "project", project=source) as made:
        made.serve()
        yield made


class KillPoint:
    """One point at which a worker dies; calling it tries it. `check` and `reset` are those of `kill_at_every_step`."""

    def __init__(self, options: dict[str, Any], mark: pytest.Mark, point: str) -> None:
        self.point = point
        self._options = options
        self._mark = mark

    def __repr__(self) -> str:
        return f"<kill at {self.point}>"

    def __call__(
        self, tako: Tako | None = None, *, check: Callable[[], object] | None = None, reset: Callable[[], object] | None = None
    ) -> None:
        """Kill the worker there. Raises AssertionError if what comes out differs; the stubs of `tako` are used."""
        with ExitStack() as opened:
            used = tako or opened.enter_context(Tako(**self._options, strict=False))
            trial = _trial(used, self._mark, check, reset)
            kill_at(self.point, workflow_name(self._mark.args[0]), trial, _comparison(self._mark)).raise_problems()


def parametrize_kill(metafunc: pytest.Metafunc, mark: pytest.Mark, config: Path | None) -> None:
    """Give a test that takes `tako_kill` one call for each point that an undisturbed run reaches."""
    options: dict[str, Any] = {} if config is None else {"project": config}
    for each in reversed([*metafunc.definition.iter_markers("tako")]):
        options.update(each.kwargs)
    with Tako(**options, strict=False) as used:
        points = list(dict.fromkeys(_trial(used, mark, None, None)((), 0).points))
    metafunc.parametrize("tako_kill", [KillPoint(options, mark, point) for point in points], ids=points)


def _trial(used: Tako, mark: pytest.Mark, check: Callable[[], object] | None, reset: Callable[[], object] | None) -> LocalTrial:
    options = dict(mark.kwargs)
    for name in ("same", "unstable"):
        options.pop(name, None)
    script, check = options.pop("script", ()), check or options.pop("check", None)
    reset = reset or options.pop("reset", None)
    payload = mark.args[1] if len(mark.args) > 1 else None
    return LocalTrial(used, workflow_name(mark.args[0]), payload, options, script, check, reset, effects=False)


def _comparison(mark: pytest.Mark) -> Comparison:
    return Comparison(mark.kwargs.get("same", is_same), mark.kwargs.get("unstable", ()))


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
