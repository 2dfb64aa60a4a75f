"""Has the witness told of every attempt of a module's workflows, of the body of each step, and of the value that came back.

Imported by workflow files of the tests, in the worker: the product has no code for it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, cast

from tako_lite.linux import read_process
from tako_lite.step import Step
from tako_lite.values import value_text
from tako_lite.wire import decode_value
from tako_lite.worker.run import ActiveRun, current_run
from tako_lite.workflow import Workflow
from tests.support.event_log import LOG, EventLog, as_logged

ATTEMPTS: Final = "attempts"
"""The folder with a file for each run, and for each workflow with a limit of one."""

_listened_to: ContextVar[ActiveRun | None] = ContextVar("listened_to", default=None)


class Traces:
    """A file with the processes of a run's attempts, so that the next attempt sees whether they are dead.

    A workflow of which one run at a time may be running has one too.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._file = root / ATTEMPTS / name

    def note(self, pid: int, mark: str, token: int) -> None:
        """A process works for an attempt (`+`), or no more (`-`)."""
        process = read_process(pid)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{mark} {pid} {process.started if process else 0} {token}\n".encode())
        os.close(descriptor)

    def alive(self) -> list[str]:
        """What earlier attempts noted and never took back, where the process is still there."""
        if not self._file.exists():
            return []
        open_: dict[str, None] = {}
        for line in self._file.read_text().splitlines():
            mark, _, rest = line.partition(" ")
            if mark == "+":
                open_[rest] = None
            else:
                open_.pop(rest, None)
        found = []
        for rest in open_:
            pid, started, _ = map(int, rest.split())
            process = read_process(pid)
            if process is not None and process.started == started and process.state not in "ZX":
                found.append(f"{rest} {process.state}")
        return found


def install_probe(module: Mapping[str, Any], root: Path | str) -> None:
    """Listen to the workflows of a module, and to the steps of this process; `root` is the project's folder."""
    witness = EventLog(Path(root) / LOG)
    (Path(root) / ATTEMPTS).mkdir(exist_ok=True)
    for found in module.values():
        if isinstance(found, Workflow) and not hasattr(found.function, "listened_to"):
            found.function = _listened(found, witness)
    if not hasattr(Step.run_with, "listened_to"):
        _listen_to_steps(witness)


def _listened(workflow: Workflow[..., Any], witness: EventLog) -> Callable[..., Any]:
    function = workflow.function

    @functools.wraps(function)
    async def waiting(*arguments: Any) -> Any:
        with _attempt(workflow, witness, arguments):
            return await function(*arguments)

    @functools.wraps(function)
    def blocking(*arguments: Any) -> Any:
        with _attempt(workflow, witness, arguments):
            return function(*arguments)

    chosen = waiting if inspect.iscoroutinefunction(function) else blocking
    chosen.listened_to = True  # type: ignore[attr-defined]
    return chosen


@contextmanager
def _attempt(workflow: Workflow[..., Any], witness: EventLog, arguments: tuple[Any, ...]) -> Iterator[None]:
    """Tell when an attempt starts and ends, and whether an earlier one, or with a limit of one any other, is still alive."""
    run = current_run.get()
    if run is None or run is _listened_to.get():  # a handler that is called as a function
        yield
        return
    _listened_to.set(run)
    root = witness.path.parent
    traces = [Traces(root, run.run_id)]
    if workflow.options.limit == 1 and workflow.options.limit_key is None:
        traces.append(Traces(root, run.workflow_name))
    payload = arguments[0] if arguments else None
    facts = {"run": run.run_id, "token": run.token}
    alive = [left for noted in traces for left in noted.alive()]
    key = (isinstance(payload, dict) and payload.get("key")) or run.run_id
    witness.write("start", key=key, workflow=run.workflow_name, attempt=run.attempt, alive=alive, **facts)
    for noted in traces:
        noted.note(os.getpid(), "+", run.token)
    try:
        yield
    finally:
        for noted in traces:
            noted.note(os.getpid(), "-", run.token)
        witness.write("end", **facts)


def _listen_to_steps(witness: EventLog) -> None:
    run_with, invoke, enqueue, wait_as = Step.run_with, Step.invoke, Step.enqueue, Step.wait_as

    def tell(kind: str, step: Step, name: str, **facts: Any) -> None:
        witness.write(kind, run=step.run_id, step=name, token=cast("ActiveRun", step._engine).token, **facts)

    def saved(step: Step, name: str, value: Any) -> Any:
        tell("saved", step, name, value=as_logged(decode_value(value_text(value, "value"))))  # as it is stored
        return value

    async def running(self: Step, caller: Any, name: str, body: Callable[[], Any], *rest: Any) -> Any:
        def heard() -> Any:
            tell("body", self, name)
            return body()

        return saved(self, name, await run_with(self, caller, name, heard, *rest))

    async def invoking(self: Step, name: str, *rest: Any, **options: Any) -> Any:
        return saved(self, name, await invoke(self, name, *rest, **options))

    async def enqueueing(self: Step, name: str, *rest: Any, **options: Any) -> Any:
        return saved(self, name, await enqueue(self, name, *rest, **options))

    async def waiting(self: Step, name: str, *rest: Any) -> Any:
        return saved(self, name, await wait_as(self, name, *rest))

    running.listened_to = True  # type: ignore[attr-defined]
    for name, listened in {"run_with": running, "invoke": invoking, "enqueue": enqueueing, "wait_as": waiting}.items():
        setattr(Step, name, listened)
