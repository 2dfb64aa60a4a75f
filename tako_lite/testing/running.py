"""Runs what is due, and lets virtual time pass."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tako_lite.client.requests import workflow_name
from tako_lite.clock import iso, milliseconds
from tako_lite.errors import BadInput, WaitTimeout
from tako_lite.records import Claimed
from tako_lite.states import TERMINAL
from tako_lite.testing.daemon import Gate
from tako_lite.testing.harness import Harness
from tako_lite.testing.run import TestRun
from tako_lite.units import duration
from tako_lite.worker.run import current_run

if TYPE_CHECKING:
    from tako_lite.handle import WorkflowHandle

    AnyWorkflow = str | WorkflowHandle[..., Any]

Duration = float | timedelta | str
MOST_STARTS: Final = 10_000
"""Attempts that one `run_until_idle` starts before it counts as a loop."""
MOST_STARTS_ADVANCING: Final = 20_000
YEAR: Final = 365 * 86_400_000


class Running(Harness):
    """The part of a `Tako` that runs what is due."""

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

    def clear(self) -> None:
        """Delete all runs, signals and stubs. The virtual time stays."""
        self._do(self._clear())

    def _refuse_off(self) -> None:
        if self.mode == "off":
            raise BadInput("the mode of this Tako is off: runs are only stored", hint='set tako.mode = "manual"')

    # On the loop

    async def _command(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A command that a client sends, in a handler or in the code under test."""
        outside = current_run.get() is None
        if outside and self._tenant is not None and command in ("enqueue", "enqueue_many"):
            arguments = {"tenant": self._tenant, **arguments}
        if outside and command == "wait":
            return await self._wait(arguments)
        answer: dict[str, Any] = json.loads(json.dumps(await self.daemon.commands.execute(command, arguments)))
        if outside and self.mode == "inline" and command in ("enqueue", "enqueue_many"):
            await self._run_due(Gate())
            self._raise_errors(answer.get("ids") or [answer["id"]])
        return answer

    async def _wait(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The end of a run, if it ends now: nothing else would let time pass."""
        if self.mode != "off":
            await self._run_due(Gate())
        answer = await self.daemon.commands.execute("get", {"run_id": arguments["run_id"]})
        if answer["run"]["state"] not in TERMINAL:
            about = f"run {arguments['run_id']} is {answer['run']['state']}, and time stands still"
            raise WaitTimeout(about, hint="enqueue, then advance the time with tako.advance(…), and only then wait")
        return answer

    def _raise_errors(self, ids: Sequence[str]) -> None:
        """Raise what the first of these runs died of."""
        if not self.raise_errors:
            return
        for shown in (self.read_run(id) for id in ids):
            if shown["state"] == "dead":
                self.looked_at.add(shown["id"])
                error = shown["error"] or {}
                raise self.script.errors.get(shown["id"]) or RuntimeError(f"{error.get('type')}: {error.get('message')}")

    async def _run_due(self, gate: Gate, workflow: str | None = None) -> None:
        """Start what is due now, and what follows from it."""
        async with self._running:
            with self.daemon.logs.reading_streams(), self.daemon.only(workflow), self.daemon.opened(gate):
                await self.daemon.scheduler.work()
                await self.daemon.drain()
            if workflow is not None:
                await self.daemon.store.release_held_runs("no_handler")
        if gate.left <= 0 and gate.fails:
            raise AssertionError(_looping(gate.started))

    async def _skip(self, gate: Gate, workflow: str | None, limit: int) -> None:
        """Let time pass to each moment at which something is due, until nothing is."""
        last = self.script.clock.moment + limit
        while (moment := await self.daemon.next_moment(retention=False)) is not None:
            if moment > last:
                raise AssertionError(f"something is due at {iso(moment)}, which is beyond the limit of this call")
            self.script.clock.move(moment)
            await self._run_due(gate, workflow)

    async def _clear(self) -> None:
        """Delete what the queue has, and what the test has said and seen."""
        store = self.daemon.store
        await store.empty()
        self.daemon.dispatcher.forget_work()
        for part in (self.daemon.ended, self.looked_at, self.daemon.logs.lines):
            part.clear()
        self.script.clear()
        await self.daemon.put_catalog()

    async def _advance(self, target: int, *, schedules: bool, most: int) -> None:
        """Let time pass to a moment, and run what is due on the way."""
        scheduler, gate = self.daemon.scheduler, Gate(left=most)
        if self.mode != "off":
            await self._run_due(gate)
        if schedules:
            scheduler.skip_missed()
        scheduler.is_firing = schedules
        try:
            while (moment := await self.daemon.next_moment()) is not None and moment <= target:
                self.script.clock.move(moment)
                await self._arrive(gate)
            self.script.clock.move(target)
            await self._arrive(gate)
            await scheduler.prune_late()
        finally:
            scheduler.is_firing = False

    async def _arrive(self, gate: Gate) -> None:
        if self.mode == "off":
            await self.daemon.scheduler.work()
        else:
            await self._run_due(gate)


def _looping(started: Sequence[Claimed]) -> str:
    """The error for too many attempts: which workflows made most of them."""
    ((name, most), *_) = Counter(run.workflow for run in started).most_common(1)
    about = f"{len(started):,} attempts were started, {most:,} of them of {name}: does it start itself, or retry forever?"
    return f"{about} Pass max_runs= for more"
