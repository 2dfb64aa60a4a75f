"""`Tako`: what tests of workflows use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tako_lite.client import requests
from tako_lite.client.requests import workflow_name
from tako_lite.clock import milliseconds
from tako_lite.testing import assertions
from tako_lite.testing.environment import environment
from tako_lite.testing.harness import Mode
from tako_lite.testing.matching import ANY
from tako_lite.testing.run import TestRun
from tako_lite.testing.scripting import Scripting
from tako_lite.testing.snapshot import describe, snapshot
from tako_lite.units import duration

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle
    from tako_lite.testing.aio import AioTako

    AnyWorkflow = str | WorkflowHandle[..., Any]

Duration = float | timedelta | str
UNSET: Any = object()
NOTHING_STORED: Mapping[str, Any] = {}


class Tako(Scripting):
    """A daemon and its workers in the process of the test, with a queue of its own and a clock that only the test moves.

    `project` is the folder of a tako.toml, `config` another text for that file. `workflows` are the handles to test instead of
    the workflow files of the project. `start` is the virtual time at the beginning. While it is open, every `Client` of the
    process and every `.enqueue` of a handle use its queue. With `strict`, closing it fails if a run died and the test did not
    look at it, if a step was called without `await`, or if a stub was never used. With `caller_thread`, plain functions of
    handlers and steps are called in the thread of the test, where they see its database transaction. With `freeze`, the clocks
    of Python show the virtual time too; that needs the package time-machine.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    # Enqueue

    def enqueue(self, workflow: AnyWorkflow, payload: Any = None, **options: Any) -> TestRun:
        """Enqueue a run, as `Client.enqueue` does."""
        request = requests.enqueue(workflow, payload, options)
        return TestRun(self, self._do(self._command("enqueue", request.whole()))["id"])

    def enqueue_many(self, workflow: AnyWorkflow, payloads: Iterable[Any], **options: Any) -> list[TestRun]:
        """Enqueue a run for each payload, as `Client.enqueue_many` does."""
        made: list[TestRun] = []
        for request in requests.enqueue_many(workflow, payloads, options):
            made += [TestRun(self, id) for id in self._do(self._command("enqueue_many", request.whole()))["ids"]]
        return made

    def run(self, workflow: AnyWorkflow, payload: Any = None, **options: Any) -> TestRun:
        """Enqueue a run, and let time pass until nothing is due any more."""
        made = self.enqueue(workflow, payload, **options)
        self.run_until_idle(skip=True)
        return made

    def signal(self, event: str, payload: Any = True, *, expect_waiter: bool = False) -> int:
        """Send a signal; returns the number of waits that it ended. With `expect_waiter`, none is an AssertionError."""
        request = requests.any_request("signal", {"event": event, "payload": payload})
        woken = int(self.command("signal", **request.whole())["woken"])
        if expect_waiter and not woken:
            raise AssertionError(f"no run waits for the signal {event!r}\n{self._describe()}")
        return woken

    def cancel(self, run: TestRun | str) -> str:
        """Cancel a run, as `Client.cancel` does; returns the outcome."""
        id = run if isinstance(run, str) else run.id
        return str(self.command("cancel", run_ids=[id])["outcomes"][id])

    def retry(self, run: TestRun | str, *, fresh: bool = False) -> str:
        """Start a run over, as `Client.retry` does; returns the outcome."""
        id = run if isinstance(run, str) else run.id
        self.looked_at.discard(id)
        return str(self.command("retry", run_ids=[id], fresh=fresh)["outcomes"][id])

    def run_now(self, run: TestRun | str) -> str:
        """Make a run due now, also one that is held, as `tako-lite run-now` does; returns the outcome."""
        id = run if isinstance(run, str) else run.id
        return str(self.command("run_now", run_ids=[id])["outcomes"][id])

    def twin(self) -> Tako:
        """Another `Tako` of the same project, with the same stubs and an empty queue."""
        twin = Tako(**self._given, secrets=self._secrets, strict=False)
        twin.mode, twin.limit = self.mode, self.limit
        twin.script.stubs = [replace(stub, used=0) for stub in self.script.stubs]
        for stub in self.script.stubs:
            stub.used += 1  # by the twin
        return twin

    # Queries

    def runs(
        self, *, workflow: AnyWorkflow | None = None, state: str | Sequence[str] | None = None, **filters: Any
    ) -> list[TestRun]:
        """The runs that match, the oldest first. The filters are those of `Client.runs`, except times."""
        chosen = requests.read_filter(workflow, state, filters)
        given = {name: value for name, value in chosen.items() if value is not None}
        return [TestRun(self, shown["id"]) for shown in self.list_runs(given)]

    def get(self, id: str) -> TestRun:
        """A run by its id. Raises NotFound."""
        return TestRun(self, self.read_run(id)["id"])

    # Assertions

    def assert_enqueued(
        self,
        workflow: AnyWorkflow,
        payload: Any = ANY,
        *,
        count: int | None = None,
        within: Duration | None = None,
        **options: Any,
    ) -> list[TestRun]:
        """Check that a run was enqueued, or exactly `count` runs; returns them.

        `payload` is a part of the payload: `...` and `ANY` match everything, a function is asked. The options are `delay`,
        `at`, `priority`, `retries`, `worker`, `unique_key`, `tenant`, `parent` and `state`. With `within`, other threads have
        so much real time to enqueue it.
        """
        name = workflow_name(workflow)
        give_up = time.monotonic() + (0.0 if within is None else duration(within))
        while True:
            runs = self.list_runs({})
            found = [run for run in runs if run["workflow"] == name and not assertions.mismatches(run, payload, options)]
            if len(found) == count or (count is None and found):
                return [TestRun(self, run["id"]) for run in found]
            if time.monotonic() >= give_up:
                wanted = "a run" if count is None else f"{count} runs (found {len(found)})"
                raise AssertionError(assertions.report(name, payload, options, runs, wanted))
            time.sleep(0.01)

    def refute_enqueued(self, workflow: AnyWorkflow, payload: Any = ANY, **options: Any) -> None:
        """Check that no such run was enqueued."""
        name, runs = workflow_name(workflow), self.list_runs({})
        if any(run["workflow"] == name and not assertions.mismatches(run, payload, options) for run in runs):
            raise AssertionError(assertions.report(name, payload, options, runs, "no run"))

    def assert_idle(self) -> None:
        """Check that nothing is due now."""
        live = self.list_runs({"states": ["pending", "running"]})
        due = [run for run in live if milliseconds(run["run_at"]) <= self.script.clock.moment]
        if due:
            raise AssertionError(f"runs are due:\n{describe(due, self._start)}")

    def assert_no_dead(self) -> None:
        """Check that no run died."""
        if dead := self.list_runs({"states": ["dead"]}):
            raise AssertionError(f"runs died:\n{describe(dead, self._start)}")

    def snapshot(self) -> str:
        """The runs with their steps and results, as text that is the same each time: for files of expected output."""
        return snapshot([self.read_run(run["id"]) for run in self.list_runs({})], self._start)

    def _describe(self) -> str:
        return describe(self.list_runs({}), self._start) or "there are no runs"

    def describe_with_logs(self) -> str:
        """A table of the runs, and what each of them printed and logged."""
        runs = self.list_runs({})
        logs = [
            f"log of {run['id'][-8:]} {run['workflow']}:\n{text}" for run in runs if (text := "\n".join(self.log_of(run["id"])))
        ]
        return "\n\n".join([describe(runs, self._start), *logs]).strip()

    # Settings

    @contextmanager
    def using(self, mode: Mode, *, raise_errors: bool = True) -> Iterator[None]:
        """Use another mode in this block.

        `manual` starts runs only in methods such as `run_until_idle`; `inline` runs them before an enqueue returns, and raises
        what they die of unless `raise_errors` is false; `off` only stores them.
        """
        before = self.mode, self.raise_errors
        self.mode, self.raise_errors = mode, raise_errors
        try:
            yield
        finally:
            self.mode, self.raise_errors = before

    @contextmanager
    def paused(self, group: str) -> Iterator[None]:
        """Have a group paused in this block."""
        self.command("pause", group=group)
        try:
            yield
        finally:
            self.command("resume", group=group)

    @contextmanager
    def tenant(self, name: str) -> Iterator[None]:
        """Enqueue for a tenant in this block."""
        before, self._tenant = self._tenant, name
        try:
            yield
        finally:
            self._tenant = before

    @contextmanager
    def secrets(self, **values: str) -> Iterator[None]:
        """Give handlers these secrets in this block."""
        before, self._secrets = self._secrets, {**self._secrets, **values}
        self._install_secrets()
        try:
            yield
        finally:
            self._secrets = before
            self._install_secrets()

    @contextmanager
    def env(self, **variables: str) -> Iterator[None]:
        """Set environment variables in this block."""
        with environment(variables):
            yield

    @cached_property
    def aio(self) -> AioTako:
        """The same methods as coroutines, for tests on an event loop of their own."""
        from tako_lite.testing.aio import AioTako  # needs anyio's threads, which few tests do

        return AioTako(self)
