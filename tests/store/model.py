"""What a store should hold, in plain Python: the promises about runs, steps, waits, signals and schedules, and no SQL.

Each method is the transition of `store.base.Store` with its name, and answers what the store must answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tako_lite.records import Enqueued, Failure, NewRun
from tako_lite.states import TERMINAL, RunState
from tako_lite.store.base import SIGNALS_KEPT, Completed, Effects, Hold, NewWait, Resolved, SavedStep, Signalled, StoredStep

Outcome = StoredStep | Literal["waiting"] | None


@dataclass(slots=True)
class Wait:
    """What a run waits for."""

    kind: str
    key: str | None
    wake_at: int | None
    started_at: int


@dataclass(slots=True)
class Row:
    """A run; `steps` are what it has stored by name, `kinds` the kinds of those."""

    new: NewRun
    state: RunState
    ready: bool
    run_at: int
    created_at: int
    hold: Hold | None = None
    attempts: int = 0
    crashes: int = 0
    executed_ms: int = 0
    token: int = 0
    cancelling: bool = False
    started_at: int | None = None
    finished_at: int | None = None
    result: str | None = None
    error: Failure | None = None
    steps: dict[str, StoredStep] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, str]:
        """What P21 says: by the time at which a run is due, less its head start, then by id."""
        return self.run_at - self.new.priority * 1000, self.new.id

    @property
    def live(self) -> bool:
        return self.state not in TERMINAL


class Model:
    """The queue at `now`. `told` is what a commit must at least tell others, and is taken away by whoever checks it."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.rows: dict[str, Row] = {}
        self.signals: dict[str, tuple[str, int]] = {}
        self.paused: set[str] = set()
        self.last_slot = now
        self.schedule_paused = False
        self.accepted = 0
        self.pruned: Counter[str] = Counter()
        self.told = Effects()

    # Runs

    def enqueue_runs(self, runs: Sequence[NewRun]) -> list[Enqueued]:
        return [self._enqueue_one(run) for run in runs]

    def _enqueue_one(self, run: NewRun) -> Enqueued:
        known = self.rows.get(run.id) or self.holder(run.workflow, run.unique_key)
        if known is not None:
            return Enqueued(known.new.id, known.state, known.new.group, deduplicated=True)
        self.rows[run.id] = Row(run, "pending", run.run_at <= self.now, run.run_at, self.now)
        self.accepted += 1
        return Enqueued(run.id, "pending", run.group)

    def holder(self, workflow: str, key: str | None) -> Row | None:
        """The live run that has a unique key."""
        rows = (row for row in self.rows.values() if key is not None and row.live)
        return next((row for row in rows if (row.new.workflow, row.new.unique_key) == (workflow, key)), None)

    def claimable(self, group: str, hold: Hold | None) -> list[Row]:
        """The due runs of a group that are held for this reason, in the order in which they start."""
        rows = [row for row in self.rows.values() if row.state == "pending" and row.ready]
        return sorted((row for row in rows if (row.new.group, row.hold) == (group, hold)), key=lambda row: row.order)

    def claim_runs(self, group: str, limit: int, hold: Hold | None) -> tuple[list[tuple[Any, ...]], bool]:
        """What is claimed, as `shown` has it, and whether more is due."""
        due = [] if group in self.paused else self.claimable(group, hold)
        claimed = []
        for row in due[:limit]:
            row.state = "running"
            row.token += 1
            row.started_at = self.now if row.started_at is None else row.started_at
            counts = (row.attempts, row.new.max_attempts, row.crashes, row.executed_ms)
            claimed.append((row.new.id, row.token, *counts, row.new.payload, dict(row.steps)))
        return claimed, len(due) > limit

    def held(self, id: str, token: int) -> Row | None:
        """The run of a claim that holds."""
        row = self.rows.get(id)
        return row if row is not None and (row.state, row.token) == ("running", token) else None

    def complete_runs(self, done: Sequence[Completed]) -> None:
        for run in done:  # as if all ended in the same moment: none is woken by another
            if row := self.held(run.id, run.token):
                row.attempts += 1
                row.state, row.finished_at, row.hold = "succeeded", self.now, None
                row.result, row.error = run.result, None
                row.waits.clear()
                self.told.succeeded.append(run.id)
        for run in done:
            self._settle_all("child", run.id)

    def reschedule_run(self, id: str, token: int, failure: Failure | None, run_at: int, charged: bool) -> bool:
        row = self.held(id, token)
        if row is None:
            return False
        if not self._cancelled_instead(row):
            row.attempts += charged
            row.executed_ms, row.error, row.hold = 0, failure, None
            self._back(row, run_at)
            self._forget_failed_children(row)
        return True

    def finish_run(self, id: str, token: int, state: RunState, failure: Failure, charged: bool) -> bool:
        row = self.held(id, token)
        if row is None:
            return False
        row.attempts += charged
        row.error = failure
        self._end(row, state)
        return True

    def requeue_runs(self, claims: Sequence[tuple[str, int]], hold: Hold | None, executed_ms: int) -> None:
        for claim in claims:
            row = self.held(*claim)
            if row is not None and not self._cancelled_instead(row):
                row.hold = hold or row.hold
                row.executed_ms += executed_ms
                row.state, row.ready = "pending", True

    def charge_crash(self, id: str, token: int, failure: Failure, max_crashes: int) -> RunState | None:
        row = self.held(id, token)
        if row is None:
            return None
        if self._cancelled_instead(row):
            return "cancelled"
        row.crashes += 1
        row.error = failure
        if row.crashes >= max_crashes:
            self._end(row, "dead")
        else:
            row.state, row.ready, row.hold, row.executed_ms = "pending", True, "suspect", 0
        return row.state

    def recover_runs(self) -> dict[str, int]:
        running = [(row.new.id, row.token) for row in self.rows.values() if row.state == "running"]
        self.requeue_runs(running, None, 0)
        return {"lax": len(running)} if running else {}

    def release_held_runs(self, hold: Hold) -> None:
        for row in self.rows.values():
            if (row.state, row.ready, row.hold) == ("pending", True, hold):
                row.hold = None

    def cancel_runs(self, ids: Sequence[str]) -> dict[str, str]:
        return {id: self._cancel_one(self.rows.get(id)) for id in ids}

    def _cancel_one(self, row: Row | None, failure: Failure | None = None) -> str:
        if row is None:
            return "unknown"
        if row.state == "running":
            row.cancelling = True
            self.told.cancelling.append(row.new.id)
            return "cancelling"
        if not row.live:
            return "ended"
        row.error = failure or CANCELLED
        self._end(row, "cancelled")
        return "cancelled"

    def retry_runs(self, ids: Sequence[str], fresh: bool) -> dict[str, str]:
        return {id: self._retry_one(self.rows.get(id), fresh) for id in ids}

    def _retry_one(self, row: Row | None, fresh: bool) -> str:
        if row is None:
            return "unknown"
        if row.live:
            return "live"
        if row.state == "succeeded":
            return "succeeded"
        if self.holder(row.new.workflow, row.new.unique_key):
            return "duplicate"
        row.attempts = row.crashes = row.executed_ms = 0
        row.error = row.finished_at = None
        row.cancelling = False
        self._back(row, self.now)
        if fresh:
            row.steps.clear()
            row.kinds.clear()
        self._forget_failed_children(row)
        return "pending"

    # Steps and waits

    def save_steps(self, steps: Sequence[SavedStep]) -> list[StoredStep | None]:
        return [self._save_one(step) for step in steps]

    def _save_one(self, step: SavedStep) -> StoredStep | None:
        row = self.held(step.run_id, step.token)
        if row is None:
            return None
        return self._keep(row, step.name, "run", StoredStep(step.state, step.value or step.error, step.tries))

    def _keep(self, row: Row, name: str, kind: str, step: StoredStep) -> StoredStep:
        """What is stored from now on: a succeeded step stays, whatever comes."""
        old = row.steps.get(name)
        if old is not None and old.state == "succeeded":
            return old
        row.kinds.setdefault(name, kind)
        row.steps[name] = step if old is None or kind == "run" else step._replace(tries=old.tries)
        return step

    def add_wait(self, wait: NewWait) -> Outcome:
        row = self.held(wait.run_id, wait.token)
        if row is None:
            return None
        if (step := row.steps.get(wait.name)) and step.state == "succeeded":
            return step
        row.waits.setdefault(wait.name, Wait(wait.kind, wait.key, wait.wake_at, self.now))
        return self._settle(row, wait.name)

    def invoke_child(self, run_id: str, token: int, name: str, child: NewRun) -> Outcome:
        row = self.held(run_id, token)
        if row is None:
            return None
        if name in row.steps:
            return row.steps[name]
        if name not in row.waits:
            row.waits[name] = Wait("child", self._enqueue_one(child).id, None, self.now)
        return self._settle(row, name)

    def enqueue_child(self, run_id: str, token: int, name: str, child: NewRun) -> StoredStep | None:
        row = self.held(run_id, token)
        if row is None:
            return None
        if name in row.steps:
            return row.steps[name]
        return self._keep(row, name, "enqueue", StoredStep("succeeded", f'"{self._enqueue_one(child).id}"', 1))

    def park_run(self, id: str, token: int, waits: Sequence[str], executed_ms: int) -> RunState | None:
        row = self.held(id, token)
        if row is None:
            return None
        if self._cancelled_instead(row):
            return "cancelled"
        row.state, row.ready, row.hold = "waiting", False, None
        row.executed_ms += executed_ms
        if any(name not in row.waits for name in waits):
            self._back(row, self.now)
        return row.state

    def store_signal(self, event: str, payload: str) -> Signalled:
        is_first = event not in self.signals
        self.signals.setdefault(event, (payload, self.now))
        return Signalled(is_first, self._settle_all("signal", event))

    # Time

    def wake_due_runs(self) -> None:
        for row in self.rows.values():
            if row.state == "pending" and row.run_at <= self.now:
                row.ready = True
            due = [
                (wait.wake_at, name)
                for name, wait in row.waits.items()
                if wait.wake_at is not None and wait.wake_at <= self.now
            ]
            for _, name in sorted(due):  # the first that ends wakes the run, the others are told to it
                self._settle(row, name)

    def get_next_due(self) -> int | None:
        """The earliest moment that a timer must not miss."""
        times = [row.run_at for row in self.rows.values() if row.state == "pending" and not row.ready]
        times += [wait.wake_at for row in self.rows.values() for wait in row.waits.values() if wait.wake_at is not None]
        return min(times, default=None)

    def expired(self, state: RunState, age: int) -> list[Row]:
        """The ended runs that are older than `age`, oldest first."""
        rows = [row for row in self.rows.values() if row.state == state and row.finished_at is not None]
        return sorted((row for row in rows if self.now - age > (row.finished_at or 0)), key=lambda row: row.finished_at or 0)

    def prune_runs(self, gone: Sequence[str]) -> None:
        """Retention took these runs, and signals that are too old."""
        for id in gone:
            self.pruned[self.rows.pop(id).state] += 1
        self.signals = {event: sent for event, sent in self.signals.items() if sent[1] >= self.now - SIGNALS_KEPT}

    def prune_again(self, keep: dict[RunState, int | None]) -> int | None:
        """When the next run or signal is past its time."""
        ends = [(row.finished_at, keep.get(row.state)) for row in self.rows.values()]
        times = [end + age + 1 for end, age in ends if end is not None and age is not None]
        return min(times + [at + SIGNALS_KEPT + 1 for _, at in self.signals.values()], default=None)

    def fire_schedule(self, slot: int, runs: Sequence[NewRun]) -> bool:
        if slot <= self.last_slot or (runs and self.schedule_paused):
            return False
        self.last_slot = slot
        self.enqueue_runs(runs)
        return True

    # Inside

    def _back(self, row: Row, run_at: int) -> None:
        row.state, row.run_at, row.ready, row.hold = "pending", run_at, run_at <= self.now, None

    def _cancelled_instead(self, row: Row) -> bool:
        if row.cancelling:
            row.error = CANCELLED
            self._end(row, "cancelled")
        return row.cancelling

    def _end(self, row: Row, state: RunState) -> None:
        row.state, row.finished_at, row.hold = state, self.now, None
        invoked = [self.rows.get(wait.key or "") for wait in row.waits.values() if wait.kind == "child"]
        row.waits.clear()
        self.told.ended.append(row.new.id)
        self._settle_all("child", row.new.id)
        for child in invoked:
            if state == "cancelled" and child is not None and child.new.parent == row.new.id:
                self._cancel_one(child, WITH_PARENT)

    def _forget_failed_children(self, row: Row) -> None:
        for name in [name for name, step in row.steps.items() if (row.kinds[name], step.state) == ("child", "failed")]:
            del row.steps[name], row.kinds[name]

    def _settle_all(self, kind: str, key: str) -> int:
        """End the waits for this; how many there were."""
        waits = [(row, name, wait) for row in self.rows.values() for name, wait in sorted(row.waits.items())]
        found = [(row, name) for row, name, wait in waits if (wait.kind, wait.key) == (kind, key)]
        for row, name in found:
            self._settle(row, name)
        return len(found)

    def _settle(self, row: Row, name: str) -> Outcome:
        end = self._end_of(row.waits[name])
        if end is None:
            return "waiting"
        wait = row.waits.pop(name)
        step = end if wait.kind == "retry" else self._keep(row, name, wait.kind, end)
        if row.state == "waiting":
            self._back(row, self.now)
        else:
            self.told.resolved.append(Resolved(row.new.id, name, step.state, step.text, None))
        return step

    def _end_of(self, wait: Wait) -> StoredStep | None:
        if wait.kind == "signal" and wait.key in self.signals:
            return StoredStep("succeeded", self.signals[wait.key][0], 1)
        child = self.rows.get(wait.key or "") if wait.kind == "child" else None
        if child is not None and child.state == "succeeded":
            return StoredStep("succeeded", child.result, 1)
        if child is not None and not child.live:
            assert child.error is not None
            about = {**child.error.as_json(), "child_id": child.new.id, "state": child.state}
            return StoredStep("failed", json.dumps(about), 1)
        if wait.wake_at is not None and wait.wake_at <= self.now:
            return StoredStep("gone" if wait.kind == "retry" else "succeeded", "null", 1)
        return None


CANCELLED = Failure("Cancelled", "cancelled on request", reason="cancelled")
WITH_PARENT = Failure("Cancelled", "cancelled with the run that invoked it", reason="cancelled")
