"""`Tako`: what tests of workflows use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from tako_lite.client import requests
from tako_lite.client.requests import workflow_name
from tako_lite.clock import milliseconds
from tako_lite.errors import BadInput
from tako_lite.testing import assertions
from tako_lite.testing.alone import AloneEngine, call_alone
from tako_lite.testing.daemon import Gate
from tako_lite.testing.harness import MOST_STARTS, MOST_STARTS_ADVANCING, YEAR, Harness, Mode
from tako_lite.testing.kill import MAX_VARIANTS, Action, Comparison, KillReport, LocalTrial, Trial, is_same, kill_everywhere
from tako_lite.testing.matching import ANY
from tako_lite.testing.process_trial import process_trial
from tako_lite.testing.replay import NotSame, Replayed, replay
from tako_lite.testing.run import TestRun
from tako_lite.testing.script import Crash, Spy, Stub
from tako_lite.testing.snapshot import describe, snapshot
from tako_lite.units import duration

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle
    from tako_lite.testing.aio import AioTako

    AnyWorkflow = str | WorkflowHandle[..., Any]

Duration = float | timedelta | str
UNSET: Any = object()
NOTHING_STORED: Mapping[str, Any] = {}


class Tako(Harness):
    """A daemon and its workers in the process of the test, with a queue of its own and a clock that only the test moves.

    `project` is the folder of a tako.toml, `config` another text for that file. `workflows` are the handles to test instead of
    the workflow files of the project. `start` is the virtual time at the beginning. While it is open, every `Client` of the
    process and every `.enqueue` of a handle use its queue. With `strict`, closing it fails if a run died and the test did not
    look at it, if a step was called without `await`, or if a stub was never used. With `caller_thread`, plain functions of
    handlers and steps are called in the thread of the test, where they see its database transaction.
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

    def call(
        self,
        workflow: WorkflowHandle[..., Any],
        payload: Any = None,
        *,
        attempt: int = 1,
        tenant: str | None = None,
        steps: Mapping[str, Any] = NOTHING_STORED,
        signals: Mapping[str, Any] = NOTHING_STORED,
        children: Mapping[str, Any] = NOTHING_STORED,
    ) -> Any:
        """Call a handler alone, without a queue; returns what it returns, and raises what it raises.

        Its steps are executed, its sleeps move the time. `steps` are values that count as stored. Waits for signals get what
        `signals` has for them, invoked children what `children` has (an exception: they failed). `step.bail`, `step.fail` and
        `step.retry` raise `Left`.
        """
        engine = AloneEngine(workflow.name, self.script.clock, attempt, tenant, signals, children, steps)
        return call_alone(workflow, payload, engine, self.limit)

    # Run

    def run_until_idle(
        self,
        *,
        group: str | None = None,
        workflow: AnyWorkflow | None = None,
        skip: bool = False,
        max_runs: int | None = None,
        limit: Duration = YEAR / 1000,
    ) -> list[TestRun]:
        """Run everything that is due now, and what follows from it; returns the runs that ended. Time stands still.

        With `skip`, time passes to each moment at which something is due, until nothing is, for at most `limit`. `group` and
        `workflow` run only a part of what is due. `max_runs` ends the call after so many attempts.
        """
        self._refuse_off()
        name = None if workflow is None else workflow_name(workflow)
        gate = Gate(group, MOST_STARTS if max_runs is None else max_runs, fails=max_runs is None)
        ended = len(self.daemon.ended)

        async def run() -> None:
            await self._run_due(gate, name)
            if skip:
                await self._skip(gate, name, round(duration(limit) * 1000))

        self._do(run())
        return [TestRun(self, id) for id in self.daemon.ended[ended:]]

    def step_once(self) -> TestRun | None:
        """Make one attempt of the run that is due first; returns that run, or None if nothing is due."""
        self._refuse_off()
        gate = Gate(left=1, fails=False)
        self._do(self._run_due(gate))
        return TestRun(self, gate.started[0].id) if gate.started else None

    def advance(self, by: Duration, *, schedules: bool = False, max_runs: int = MOST_STARTS_ADVANCING) -> None:
        """Let time pass, and run on the way what is due, each at its time. With `schedules`, schedules and triggers fire."""
        self.advance_to(self.now + timedelta(seconds=duration(by)), schedules=schedules, max_runs=max_runs)

    def advance_to(
        self, when: datetime | str | float, *, schedules: bool = False, max_runs: int = MOST_STARTS_ADVANCING
    ) -> None:
        """Let time pass to a moment. Raises BadInput for one in the past."""
        target = milliseconds(when)
        if target < self.script.clock.moment:
            raise BadInput(f"the virtual time is {self.now.isoformat()} already", hint="time only moves forward")
        self._do(self._advance(target, schedules=schedules, most=max_runs))

    def tick(self, workflow: AnyWorkflow) -> TestRun:
        """Fire the schedule of a workflow now, once; returns the run."""
        return TestRun(self, self.command("run_schedule", workflow=workflow_name(workflow))["id"])

    def poll(self, trigger: Any) -> list[TestRun]:
        """Evaluate a polling trigger now, once; returns the runs that it started. Raises AssertionError if it failed."""
        name = workflow_name(trigger)
        self.command("run_trigger", name=name)
        before = {shown["id"] for shown in self.list_runs({})}
        self._do(self._run_due(Gate(), f"@{name}"))
        (stored,) = [each for each in self.command("triggers")["triggers"] if each["name"] == name]
        if (error := stored["last_error"]) is not None:
            raise AssertionError(f"trigger {name} failed: {error.get('type')}: {error.get('message')}")
        return [TestRun(self, shown["id"]) for shown in self.list_runs({}) if shown["id"] not in before]

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

    # Steps

    def stub(
        self,
        workflow: AnyWorkflow,
        *,
        step: str | None = None,
        child: str | None = None,
        returns: Any = UNSET,
        raises: BaseException | type[BaseException] | None = None,
        do: Callable[..., Any] | None = None,
        times: int | None = None,
    ) -> None:
        """Replace the body of a step, or a child run, the first `times` times or always.

        Its value is `returns`, or what `do` returns for the arguments of the step (of a child: for its payload); or it raises
        `raises`. The value is stored as that of the real step is. `child` is the name of the step or of the child's workflow.
        """
        if (step is None) == (child is None) or sum((returns is not UNSET, raises is not None, do is not None)) != 1:
            raise BadInput(
                "a stub has `step` or `child`, and one of `returns`, `raises` and `do`",
                hint='such as tako.stub("order", step="charge", returns="ok")',
            )
        kind, name = ("step", step) if step is not None else ("child", child)
        function = _raising(raises) if raises is not None else do if do is not None else lambda *_: returns
        self.script.stubs.append(Stub(workflow_name(workflow), str(name), kind, function, times))  # type: ignore[arg-type]

    def fail(
        self, workflow: AnyWorkflow, step: str, times: int = 1, error: BaseException | type[BaseException] = TimeoutError
    ) -> None:
        """Make the next `times` tries of a step fail with an error; its body is not called."""
        self.stub(workflow, step=step, raises=error, times=times)

    def spy(self, workflow: AnyWorkflow, step: str) -> Spy:
        """Observe the executions of the body of a step; `.calls` has the arguments and the attempt of each."""
        self.script.spies.append(made := Spy(workflow_name(workflow), step))
        return made

    def time_out(self, workflow: AnyWorkflow, step: str, times: int = 1) -> None:
        """Have the attempt of a run time out when it reaches a step, as if the `timeout` of its workflow had passed."""
        self.script.time_outs.append(Stub(workflow_name(workflow), step, "step", lambda: None, times))

    def crash(self, workflow: AnyWorkflow, at: str) -> None:
        """Kill the worker at a point of a run, once: `start`, `before:STEP`, `after:STEP`, `stored:STEP`, `park:…` or `end`.

        `before` is when the step is asked for, `after` is when its body has returned and its value is not stored. `#2` is the
        second time since the last death. Several deaths in one workflow happen in the order of these calls.
        """
        name = workflow_name(workflow)
        earlier = next((crash for crash in reversed(self.script.crashes) if crash.workflow == name), None)
        self.script.crashes.append(Crash(name, at, after=earlier))

    def kill_at_every_step(
        self,
        workflow: AnyWorkflow,
        payload: Any = None,
        *,
        script: Sequence[Action] = (),
        check: Callable[[], object] | None = None,
        reset: Callable[[], object] | None = None,
        same: Callable[[Any, Any], bool] = is_same,
        unstable: Collection[str] = (),
        twice: bool = False,
        effects: bool = False,
        processes: bool = False,
        max_variants: int = MAX_VARIANTS,
        **options: Any,
    ) -> KillReport:
        """Run a workflow once undisturbed, then once for each point at which its worker can die, and compare what comes out.

        Each variant has a fresh queue, and begins with `reset()`. `script` is what the world does whenever nothing is due:
        `("signal", event, payload)`, `("advance", duration)`, or a function with its arguments. At the end of each, `check()`
        must return something true or None. Raises AssertionError if a variant ends in another state, with another result
        (`same` compares) or other steps, or runs a body again whose value was stored. The values of the steps in `unstable`
        may differ. `twice` kills at each pair of points, `effects` reports what handlers do outside of steps, and `processes`
        kills real workers of a real daemon.
        """
        name = workflow_name(workflow)
        with ExitStack() as opened:
            trial: Trial = LocalTrial(self, name, payload, options, script, check, reset, effects)
            if processes:
                trial = opened.enter_context(process_trial(self, name, payload, options, script, check, reset))
            report = kill_everywhere(name, trial, Comparison(same, unstable), twice=twice, max_variants=max_variants)
        report.raise_problems()
        return report

    def replay(self, run: TestRun | Mapping[str, Any] | str | Path) -> Replayed:
        """Run a handler again with the stored steps of a run alone. Raises NotSame where the code does not fit them.

        `run` is a run of this queue, or the output of `tako-lite show ID --json`: as text, as a dict, or the path of a file.
        No step is executed.
        """
        shown = run.data if isinstance(run, TestRun) else run
        if isinstance(shown, Path):
            shown = shown.read_text()
        if isinstance(shown, str):
            shown = json.loads(shown)
        replayed = replay(self.loaded, shown)
        if replayed.differences:
            raise NotSame(f"run {shown['id']} of {shown['workflow']}", replayed.differences)
        return replayed

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

    def children(self, run: TestRun | str) -> list[TestRun]:
        """The runs that a run started with `step.invoke` and `step.enqueue`, the oldest first."""
        return self.runs(parent=run if isinstance(run, str) else run.id)

    def log_of(self, id: str) -> list[str]:
        """The lines that a run printed and logged."""
        return self.daemon.logs.of(id)

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
        with patch.dict("os.environ", variables):
            yield

    def clear(self) -> None:
        """Delete all runs, signals and stubs. The virtual time stays."""
        self._do(self._clear())

    def _refuse_off(self) -> None:
        if self.mode == "off":
            raise BadInput("the mode of this Tako is off: runs are only stored", hint='set tako.mode = "manual"')

    @cached_property
    def aio(self) -> AioTako:
        """The same methods as coroutines, for tests on an event loop of their own."""
        from tako_lite.testing.aio import AioTako  # needs anyio's threads, which few tests do

        return AioTako(self)


def _raising(error: BaseException | type[BaseException]) -> Callable[..., Any]:
    def raise_it(*_: Any) -> None:
        raise error() if isinstance(error, type) else error

    return raise_it
