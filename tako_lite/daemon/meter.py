"""What the daemon counts: attempts, runs, workers, commits. Plain integers in memory; nothing here waits or wakes anything.

The parts of the daemon call one method for each happening. Those of the hot path take a whole batch, so that a run costs two
loop bodies of a few additions. `monitor/series.py` reads the totals at a scrape, and a minute's rows for the store are the
difference to the totals at the end of the minute before (`take_minutes`).

Totals begin at zero with the daemon. Runs that evaluate a trigger count under their hidden workflow, `@NAME`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from tako_lite.daemon.worker_session import Assignment
from tako_lite.histogram import EXECUTION_BOUNDS, QUEUE_BOUNDS, Histogram
from tako_lite.protocol.items import SaveStep
from tako_lite.records import Claimed
from tako_lite.states import AttemptKind
from tako_lite.store.base import EndedRun, MinuteTotals
from tako_lite.trigger_options import EVALUATION

MINUTE: Final = 60_000
START_BOUNDS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000, 30_000)
FAILED: Final[tuple[AttemptKind, ...]] = ("failed", "timeout", "crashed")
"""How the attempts ended that a minute counts as failed."""


class WorkflowTotals:
    """The runs of one workflow in one group. `attempts` and `finished` count those that did not succeed."""

    def __init__(self) -> None:
        self.enqueued: Counter[str] = Counter()
        """By where the runs came from: `client`, `schedule`, `trigger`, `step` or `retry`."""
        self.waited_ms = 0
        self.waited = [0] * (len(QUEUE_BOUNDS) + 1)
        self.executed_ms = 0.0
        self.executed = [0] * (len(EXECUTION_BOUNDS) + 1)
        self.unsuccessful = 0
        """How many of `executed` did not succeed."""
        self.attempts: Counter[AttemptKind] = Counter()
        self.finished: Counter[tuple[str, str]] = Counter()
        """By state and reason."""
        self._stored = self._numbers()

    @property
    def started(self) -> int:
        """How many runs were pushed to a worker."""
        return sum(self.waited)

    @property
    def succeeded(self) -> int:
        """How many attempts, and with them their runs, succeeded."""
        return sum(self.executed) - self.unsuccessful

    def executed_for(self, milliseconds: float) -> None:
        """Count how long an attempt executed that did not succeed."""
        self.unsuccessful += 1
        self.executed_ms += milliseconds
        self.executed[bisect_left(EXECUTION_BOUNDS, milliseconds)] += 1

    def ended_as(self, state: str) -> int:
        """How many runs ended in a state other than `succeeded`."""
        return sum(number for (ended, _), number in self.finished.items() if ended == state)

    def take_minute(self, minute: int, group: str, workflow: str) -> MinuteTotals | None:
        """What was counted since the last call, as the row of a minute; None if that is nothing."""
        before, self._stored = self._stored, self._numbers()
        if before == self._stored:
            return None
        numbers, waited, executed = (
            [new - old for new, old in zip(*pair, strict=True)] for pair in zip(self._stored, before, strict=True)
        )
        return MinuteTotals._make((minute, group, workflow, *numbers, tuple(waited), tuple(executed)))

    def _numbers(self) -> tuple[list[int], list[int], list[int]]:
        failed = sum(self.attempts[kind] for kind in FAILED)
        dead, cancelled = self.ended_as("dead"), self.ended_as("cancelled")
        numbers = [self.started, self.succeeded, failed, dead, cancelled, self.waited_ms, round(self.executed_ms)]
        return numbers, self.waited.copy(), self.executed.copy()


_NONE: Final = WorkflowTotals()
"""The totals of no workflow."""


class Recent:
    """How many runs ended within the last 60 seconds, to the second."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()

    def add(self, now: int, done: int, failed: int) -> None:
        """Count runs that ended now."""
        second = now // 1000
        if self._seconds and self._seconds[-1][0] == second:
            last = self._seconds[-1]
            last[1] += done
            last[2] += failed
        else:
            self._forget(second)
            self._seconds.append([second, done, failed])

    def counts(self, now: int) -> tuple[int, int]:
        """How many runs succeeded, and how many died."""
        self._forget(now // 1000)
        return sum(entry[1] for entry in self._seconds), sum(entry[2] for entry in self._seconds)

    def _forget(self, second: int) -> None:
        seconds = self._seconds
        while seconds and not second - 60 < seconds[0][0] <= second:  # the clock may have been set back
            seconds.popleft()


class Workflows(dict[str, WorkflowTotals]):
    """The totals of each workflow of a group."""

    def __missing__(self, workflow: str) -> WorkflowTotals:
        totals = self[workflow] = WorkflowTotals()
        return totals


class GroupTotals:
    """The workers and the runs of one group."""

    def __init__(self) -> None:
        self.workflows = Workflows()
        self.recent = Recent()
        self.steps: Counter[tuple[str, str]] = Counter()
        """By kind and outcome."""
        self.starts: Counter[str] = Counter()
        self.exits: Counter[str] = Counter()
        self.start_times = Histogram(START_BOUNDS)


class Groups(dict[str, GroupTotals]):
    """The totals of each group."""

    def __missing__(self, group: str) -> GroupTotals:
        totals = self[group] = GroupTotals()
        return totals


class Meter:
    """The totals of a daemon."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.groups = Groups()
        self.deduplicated: Counter[str] = Counter()
        """By workflow: enqueues whose run or unique key was in the queue already."""
        self.tenants: Counter[tuple[str, str]] | None = None
        """By tenant and outcome: attempts that ended; None unless `[monitor] tenants` asks for them."""
        self._now = now
        self._minute = now() // MINUTE
        self._began_at = now()
        self._rows: list[MinuteTotals] = []

    # Runs

    def runs_enqueued(self, group: str, workflow: str, source: str, number: int = 1) -> None:
        """Runs were stored; `source` is what they came from."""
        self.groups[group].workflows[workflow].enqueued[source] += number

    def runs_started(self, group: str, runs: Iterable[Claimed]) -> None:
        """Runs were pushed to a worker."""
        now = self._turn()
        workflows = self.groups[group].workflows
        current, totals = "", _NONE
        buckets = totals.waited
        for run in runs:
            if run.workflow != current:
                current = run.workflow
                totals = workflows[current]
                buckets = totals.waited
            waited = now - run.due_at
            if waited < 0:
                waited = 0
            totals.waited_ms += waited
            buckets[bisect_left(QUEUE_BOUNDS, waited)] += 1

    def runs_succeeded(self, group: str, ended: Collection[Assignment], loop_time: float) -> None:
        """Attempts returned, and their runs succeed."""
        now = self._turn()
        found = self.groups[group]
        workflows = found.workflows
        current, totals = "", _NONE
        buckets = totals.executed
        for assignment in ended:
            run = assignment.claimed
            if run.workflow != current:
                current = run.workflow
                totals = workflows[current]
                buckets = totals.executed
            executed = (loop_time - assignment.since) * 1000 + run.executed_ms
            totals.executed_ms += executed
            buckets[bisect_left(EXECUTION_BOUNDS, executed)] += 1
        found.recent.add(now, len(ended), 0)
        if self.tenants is not None:
            for assignment in ended:
                self._tenant_attempt(assignment.claimed, "succeeded")

    def attempt_ended(self, group: str, run: Claimed, kind: AttemptKind, executed_ms: int | None) -> None:
        """An attempt ended in another way than by success. `executed_ms` is None for one that will continue later."""
        self._turn()
        totals = self.groups[group].workflows[run.workflow]
        totals.attempts[kind] += 1
        self._tenant_attempt(run, kind)
        if executed_ms is not None:
            totals.executed_for(executed_ms)

    def run_ended(self, run: EndedRun) -> None:
        """A run ended as `dead` or `cancelled`."""
        now = self._turn()
        group = self.groups[run.group]
        group.workflows[run.workflow].finished[run.state, run.reason or ""] += 1
        if run.state == "dead" and not run.workflow.startswith(EVALUATION):
            group.recent.add(now, 0, 1)

    def _tenant_attempt(self, run: Claimed, kind: AttemptKind) -> None:
        if self.tenants is not None and run.tenant is not None:
            self.tenants[run.tenant, kind] += 1

    # Steps and workers

    def steps_saved(self, group: str, steps: Sequence[SaveStep]) -> None:
        """Steps of runs ended."""
        totals = self.groups[group].steps
        for step in steps:
            totals[step.step_kind, step.state] += 1

    def step_asked_for(self, group: str, kind: str) -> None:
        """A run begins to wait for a time, a signal, a child or the next try of a step, or enqueues another run."""
        self.groups[group].steps[kind, "begun"] += 1

    def worker_started(self, group: str, cause: str) -> None:
        """A worker was forked."""
        self.groups[group].starts[cause] += 1

    def worker_ready(self, group: str, seconds: float) -> None:
        """A worker imported its modules, so many seconds after its group asked for it."""
        self.groups[group].start_times.observe(seconds * 1000)

    def worker_exited(self, group: str, cause: str) -> None:
        """A worker is gone."""
        self.groups[group].exits[cause] += 1

    # Minutes

    @property
    def has_minutes(self) -> bool:
        """Whether rows of minutes that are over wait to be stored."""
        return bool(self._rows)

    def take_minutes(self) -> list[MinuteTotals]:
        """The rows of the minutes that are over and that no call has returned yet."""
        self._turn()
        rows, self._rows = self._rows, []
        return rows

    def take_all(self) -> list[MinuteTotals]:
        """The same, and what the current minute has so far."""
        self._close(self._minute)
        return self.take_minutes()

    def _turn(self) -> int:
        """The time; the minute before is closed if a new one has begun, or the clock was set back."""
        now = self._now()
        if now // MINUTE != self._minute:
            self._close(now // MINUTE)
        return now

    def _close(self, minute: int) -> None:
        for name, group in self.groups.items():
            for workflow, totals in group.workflows.items():
                if not workflow.startswith(EVALUATION) and (row := totals.take_minute(self._minute, name, workflow)):
                    self._rows.append(row)
        self._minute = minute

    @property
    def knows_last_minute(self) -> bool:
        """Whether the daemon has run for a minute; before that, runs may have ended under the daemon before it."""
        return not 0 <= self._now() - self._began_at < MINUTE

    def last_minute(self, group: str) -> tuple[int, int]:
        """How many runs of a group succeeded and how many died within the last 60 seconds."""
        return self.groups[group].recent.counts(self._now()) if group in self.groups else (0, 0)
