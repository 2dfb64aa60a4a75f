"""What a test says about steps and workers, and the runs that are compared with each other."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.client.requests import workflow_name
from tako_lite.errors import BadInput
from tako_lite.testing.alone import AloneEngine, call_alone
from tako_lite.testing.kill import MAX_VARIANTS, Comparison, KillReport, is_same, kill_everywhere
from tako_lite.testing.process_trial import process_trial
from tako_lite.testing.replay import NotSame, Replayed, replay
from tako_lite.testing.run import TestRun
from tako_lite.testing.running import Running
from tako_lite.testing.script import ANY_WORKFLOW, Crash, Spy, Stub
from tako_lite.testing.trial import Action, LocalTrial, Trial

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle
    from tako_lite.testing.tako import Tako

    AnyWorkflow = str | WorkflowHandle[..., Any]

UNSET: Any = object()
NOTHING_STORED: Mapping[str, Any] = {}


class Scripting(Running):
    """The part of a `Tako` that replaces steps, kills workers, and replays runs."""

    @abstractmethod
    def twin(self) -> Tako:
        """Another `Tako` of the same project, with the same stubs and an empty queue."""

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
        self, workflow: AnyWorkflow, step: str, times: int = 2, error: BaseException | type[BaseException] = TimeoutError
    ) -> None:
        """Make the next `times` tries of a step fail with an error; its body is not called."""
        self.stub(workflow, step=step, raises=error, times=times)

    def spy(self, workflow: AnyWorkflow, step: str) -> Spy:
        """Observe the executions of the body of a step; `.calls` has the arguments and the attempt of each."""
        self.script.spies.append(made := Spy(workflow_name(workflow), step))
        return made

    def time_out(self, workflow: AnyWorkflow, step: str | None = None, times: int = 1) -> None:
        """Have the attempt of a run time out when it reaches a step, as if the `timeout` of its workflow had passed.

        With one name, that is a step of any workflow.
        """
        name = workflow_name(workflow)
        late = (
            Stub(name, step, "step", lambda: None, times)
            if step is not None
            else Stub(ANY_WORKFLOW, name, "step", _nothing, times)
        )
        self.script.time_outs.append(late)

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


def _nothing() -> None: ...


def _raising(error: BaseException | type[BaseException]) -> Callable[..., Any]:
    def raise_it(*_: Any) -> None:
        raise error() if isinstance(error, type) else error

    return raise_it
