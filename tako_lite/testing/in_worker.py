"""What the workers of a `TestProject` do besides: they use its clock, report the points that runs reach, and die at some.

`install` is the `setup` of every group. The folder `test` in the project has the clock, the points, and where to die.
"""

from __future__ import annotations

import contextvars
import importlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

from tako_lite.protocol.worker import PushedRun
from tako_lite.testing.executor import LocalExecutor, LocalRun
from tako_lite.testing.moved_clock import MovedClock
from tako_lite.testing.names import DEATHS, FOLDER, POINTS, SETUP
from tako_lite.testing.script import Script
from tako_lite.worker import main
from tako_lite.worker.link import Link
from tako_lite.worker.loader import Loader
from tako_lite.worker.run import INLINE_SLEEP, ActiveRun


def install() -> Any:
    """Have the executor of this worker report points; then call the `setup` of the group."""
    script = _ProcessScript(Path.cwd() / FOLDER)

    def make(
        link: Link, loader: Loader, group: str, slots: int, on_end: Callable[[str], None], base: contextvars.Context
    ) -> LocalExecutor:
        return _ProcessExecutor(link, loader, group, slots, base, script, _kill, on_end)

    vars(main)["Executor"] = make
    if entry := os.environ.get(SETUP):
        module, _, name = entry.partition(":")
        return getattr(importlib.import_module(module), name)()
    return None


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _ProcessExecutor(LocalExecutor):
    def new_run(self, pushed: PushedRun, steps: Sequence[Any]) -> ActiveRun:
        return _ProcessRun(self._link, pushed, steps, self)


class _ProcessRun(LocalRun):
    """Parks and sleeps as in production."""

    inline_sleep = INLINE_SLEEP

    def park_after(self) -> float:
        return ActiveRun.park_after(self)

    def _park_now(self) -> None:
        ActiveRun._park_now(self)


class _ProcessScript(Script):
    """Reads from the folder where to die, and writes down each point."""

    def __init__(self, folder: Path) -> None:
        super().__init__(cast("Any", MovedClock(folder)))
        self._folder = folder

    def dies_at(self, run: LocalRun, point: str) -> bool:
        known = _lines(self._folder / POINTS)
        deaths = sum(line["dies"] for line in known if line["run"] == run.run_id)
        alike = [line for line in known if (line["run"], line["deaths"], line["point"]) == (run.run_id, deaths, point)]
        label = point if not alike else f"{point}#{len(alike) + 1}"
        wanted = self._deaths()
        dies = wanted.get("workflow") == run.workflow_name and wanted["at"][deaths : deaths + 1] == [label]
        self._write({"run": run.run_id, "deaths": deaths, "point": point, "label": label, "dies": dies})
        return dies

    async def call(self, run: LocalRun, name: str, call: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        self._write({"run": run.run_id, "deaths": -1, "point": "", "label": f"body:{name}", "dies": False})
        return await body()

    def note_call(self, run: LocalRun, name: str, coroutine: Coroutine[Any, Any, Any]) -> None: ...

    def check_awaited(self, run: ActiveRun) -> None: ...

    def _deaths(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._folder / DEATHS).read_text())
        except FileNotFoundError:
            return {}
        return found

    def _write(self, line: dict[str, Any]) -> None:
        file = os.open(self._folder / POINTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, (json.dumps(line) + "\n").encode())
        finally:
            os.close(file)


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except FileNotFoundError:
        return []
