"""Does any sequence of transitions to a store, beside a model in plain Python that says what must come out.

The gate takes the same sequences of up to 80 steps each time, `make test-faults` 500 at random. TAKO_MACHINE_EXAMPLES=5000
takes so many at random; one of these that fails is made as short as it can be.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tako_lite.clock import EARLIEST_MS, milliseconds
from tako_lite.errors import StoreError
from tako_lite.records import Run, Schedule
from tako_lite.routing import Route
from tako_lite.states import TERMINAL, RunState
from tako_lite.store.base import (
    Claims,
    Completed,
    Effects,
    EndedRun,
    Hold,
    NewWait,
    Resolved,
    RunFilter,
    SavedStep,
    ServedRun,
    StoredStep,
)
from tests.store.model import Model, Row
from tests.support.backends import Backend, open_store
from tests.support.profiles import scaled
from tests.support.store_bench import DAY, LARGE, SMALL, WORKER, Bench, HandClock, failed_with

EXAMPLES = int(os.environ.get("TAKO_MACHINE_EXAMPLES", scaled(0, 500)))
STEPS = 80
GROUPS = ("default", "media")
EVENTS = ("go", "stop")
NAMES = ("a", "b", "c")
HOLDS: tuple[Hold | None, ...] = (None, "suspect")
MOVES_OF_THE_CLOCK = (1, 10, 999, 1_000, 60_000, 3_600_000, DAY, 8 * DAY, -1, -1_000, -3_600_000, -DAY)

groups = st.sampled_from(GROUPS)
picks = st.integers(0, 1_000_000)
delays = st.sampled_from([0, 0, 0, 1, 10, 1_000, 60_000, DAY, -1_000])
VALUES = {"small": SMALL, "other": '"other"', "null": "null", "large": LARGE, "other large": LARGE.replace("x", "y")}
values = st.sampled_from([*sorted(VALUES), "large", "other large"])
names = st.sampled_from(NAMES)
outcomes = st.lists(
    st.tuples(names, st.none() | values, st.integers(0, 5)), min_size=1, max_size=3, unique_by=lambda step: step[0]
)
failures = st.sampled_from([failed_with(), failed_with("x" * 3_000)])


class Deed(NamedTuple):
    """A call of the store that is under way, what the model says that it answers, and what a claim is about."""

    call: Callable[[], Awaitable[Any]]
    expected: Any
    shown: Callable[[Any], Any]
    claim: tuple[str, Hold | None, int] | None


class StoreMachine(RuleBasedStateMachine):
    """Does to a store and to a model the same things; where they differ, a promise is broken."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.clock = HandClock()
        self.told: list[Effects] = []
        self.model = Model(self.clock.now())
        self.claims: list[tuple[str, int]] = []
        self.batch: list[Deed] | None = None
        self.seen: dict[str, Run] = {}
        self.known: dict[str, Any] = {}
        self.restarted: set[str] = set()
        self.marks: dict[tuple[str, Hold | None], int] = {}
        """What the daemon knows of due work: the groups that it would claim of, with the number of the latest arrival."""
        self.timer: int | None = None
        self.moment = self.made = 0
        self.broken = False
        self.loop = asyncio.new_event_loop()

    # Doing

    @initialize()
    def open(self) -> None:
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        queue = self.backend.queue(self.folder)
        self.store = open_store(queue, self.clock, self._committed)
        self.bench = Bench(self.store, self.clock, self.told, queue)
        await self.store.start()
        await self.store.put_schedules([self.tick()], self.clock.now())

    def tick(self) -> Schedule:
        return Schedule("tick", "* * * * * *", "UTC", "all", 0, None, False)

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.commit()
                self._compare(whole=True)
                self.drain()
                self._compare(whole=True)
        finally:
            self.loop.run_until_complete(self.store.stop())
            self.loop.close()
            if not self.broken:
                assert self.backend.strays(self.folder) == []
            self.backend.forget(self.folder)
            shutil.rmtree(self.folder)

    def do(
        self,
        call: Callable[[], Awaitable[Any]],
        expected: Any,
        shown: Callable[[Any], Any] = lambda answer: answer,
        claim: tuple[str, Hold | None, int] | None = None,
    ) -> None:
        """Ask the store for what the model has done; what is asked for in one moment shares a transaction."""

        deed = Deed(call, expected, shown, claim)
        if self.batch is None:
            self._run([deed])
        else:
            self.batch.append(deed)

    def _run(self, deeds: Sequence[Deed]) -> None:
        self.broken = True
        for deed, answer in zip(deeds, self.loop.run_until_complete(self.answers(deeds)), strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, StoreError):
                raise answer
            assert (StoreError if isinstance(answer, StoreError) else deed.shown(answer)) == deed.expected
            if deed.claim is not None:
                self._claimed(*deed.claim, answer)
        self._compare_effects()
        self.broken = False

    async def answers(self, deeds: Sequence[Deed]) -> list[Any]:
        """What the store answers, or raises, to deeds of one moment."""
        return await asyncio.gather(*[deed.call() for deed in deeds], return_exceptions=True)

    # What the daemon makes of it

    def _arrived(self, group: str, hold: Hold | None = None) -> None:
        self.moment += 1
        self.marks[group, hold] = self.moment

    def _committed(self, effects: Effects) -> None:
        self.told.append(effects)
        for group in effects.ready:
            self._arrived(group)
        for group in effects.suspects:
            self._arrived(group, "suspect")
        if effects.due is not None:
            self.timer = effects.due if self.timer is None else min(self.timer, effects.due)

    def _claimed(self, group: str, hold: Hold | None, asked: int, claims: Claims) -> None:
        if not claims.more and asked > self.marks.get((group, hold), 0):
            self.marks.pop((group, hold), None)

    def _compare_effects(self) -> None:
        """Nothing that somebody waits for goes untold, and no end is told that was none."""
        told, wanted = self.told, self.model.told
        self.told, self.model.told = [], Effects()
        for what in ("ended", "cancelling", "resolved"):
            have = sorted(_without_server(item) for effects in told for item in getattr(effects, what))
            assert have == sorted(getattr(wanted, what)), what
        succeeded = {id for effects in told for id in effects.succeeded}
        assert set(wanted.succeeded) <= succeeded
        assert {self.model.rows[id].state for id in succeeded} <= {"succeeded"}  # what succeeded before may be told again

    # Choosing

    def claim_at(self, pick: int) -> tuple[str, int]:
        """A claim: three times out of four one that holds, if there is one, else any that ever was."""
        holding = [claim for claim in self.claims if self.model.held(*claim)]
        chosen = holding if holding and pick % 4 else self.claims
        return chosen[pick // 4 % len(chosen)]

    def new_run_id(self, pick: int) -> str:
        """An id: mostly a new one, in no order."""
        if self.model.rows and pick % 8 == 0:
            return self.known_id(pick // 8)
        self.made += 1
        return f"{self.made * 40_503 % 65_536:08x}-0000-7000-8000-{self.made:012x}"

    def known_id(self, pick: int) -> str:
        return sorted(self.model.rows)[pick % len(self.model.rows)]

    # Runs

    @rule(
        group=groups,
        pick=picks,
        delay=delays,
        priority=st.sampled_from([0, 0, 5, -5]),
        key=st.sampled_from([None, "k", "k", "l"]),
        payload=values,
        count=st.sampled_from([1, 1, 1, 3]),
    )
    def enqueue(self, group: str, pick: int, delay: int, priority: int, key: str | None, payload: str, count: int) -> None:
        at = max(self.clock.now() + delay, 0)
        like = self.bench.new(group=group, run_at=at, priority=priority, unique_key=key, payload=VALUES[payload], id="")
        runs = [like._replace(id=self.new_run_id(pick + number)) for number in range(count)]
        if at <= self.clock.now():
            self._arrived(group)
        self.do(lambda: self.store.enqueue_runs(runs), self.model.enqueue_runs(runs))

    @rule(group=groups, pick=picks, delay=delays, payloads=st.lists(values, max_size=5))
    def enqueue_many(self, group: str, pick: int, delay: int, payloads: list[str]) -> None:
        like = self.bench.new(group=group, run_at=max(self.clock.now() + delay, 0), id="")
        rows = [(self.new_run_id(pick + number), VALUES[payload]) for number, payload in enumerate(payloads)]
        if like.run_at <= self.clock.now():
            self._arrived(group)
        self.model.enqueue_runs([like._replace(id=id, payload=payload) for id, payload in rows])
        self.do(lambda: self.store.enqueue_batches([(like, rows)]), 0)

    @rule(group=groups, limit=st.sampled_from([1, 1, 2, 10]), hold=st.sampled_from([*HOLDS, None]))
    def claim(self, group: str, limit: int, hold: Hold | None) -> None:
        self.moment += 1
        asked = (group, hold, self.moment)
        runs, more = self.model.claim_runs(group, limit, hold)
        self.claims += [(run[0], run[1]) for run in runs]
        self.do(lambda: self.store.claim_runs(group, limit, hold), (runs, more), shown, asked)

    @rule(group=groups, count=st.integers(1, 3), hold=st.sampled_from(HOLDS))
    def enqueue_and_claim(self, group: str, count: int, hold: Hold | None) -> None:
        """What most sequences need to get anywhere."""
        self.enqueue(group, 1, 0, 0, None, "small", count)
        self.claim(group, 10, hold)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, count=st.sampled_from([1, 1, 2, 4]), result=values)
    def complete(self, pick: int, count: int, result: str) -> None:
        claims = dict.fromkeys(self.claim_at(pick + 7 * number) for number in range(count))
        done = [Completed(*claim, VALUES[result], WORKER) for claim in claims]
        self.model.complete_runs(done)
        self.do(lambda: self.store.complete_runs(done), None)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, failure=st.none() | failures, delay=delays, charged=st.booleans())
    def try_again(self, pick: int, failure: Any, delay: int, charged: bool) -> None:
        claim, at = self.claim_at(pick), max(self.clock.now() + delay, 0)
        expected = self.model.reschedule_run(*claim, failure, at, charged)
        self.do(lambda: self.store.reschedule_run(*claim, failure, at, WORKER, charged=charged), expected)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, state=st.sampled_from(["dead", "cancelled"]), failure=failures, charged=st.booleans())
    def finish(self, pick: int, state: RunState, failure: Any, charged: bool) -> None:
        claim = self.claim_at(pick)
        expected = self.model.finish_run(*claim, state, failure, charged)
        self.do(lambda: self.store.finish_run(*claim, state, failure, WORKER, charged=charged), expected)

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks,
        count=st.sampled_from([1, 2, 4]),
        hold=st.sampled_from([*HOLDS, "no_handler"]),
        executed=st.sampled_from([0, 70]),
    )
    def give_back(self, pick: int, count: int, hold: Hold | None, executed: int) -> None:
        claims = [self.claim_at(pick + 7 * number) for number in range(count)]
        self.model.requeue_runs(claims, hold, executed)
        self.do(lambda: self.store.requeue_runs(claims, hold, executed), None)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, most=st.sampled_from([1, 3]), failure=failures)
    def charge_crash(self, pick: int, most: int, failure: Any) -> None:
        claim = self.claim_at(pick)
        expected = self.model.charge_crash(*claim, failure, most)
        self.do(lambda: self.store.charge_crash(*claim, failure, most, WORKER), expected)

    @precondition(lambda self: self.model.rows)
    @rule(pick=picks, count=st.sampled_from([1, 2]))
    def cancel(self, pick: int, count: int) -> None:
        ids = ["nobody", *dict.fromkeys(self.known_id(pick + number) for number in range(count))]
        self.do(lambda: self.store.cancel_runs(ids), self.model.cancel_runs(ids))

    @precondition(lambda self: self.model.rows)
    @rule(pick=picks, fresh=st.booleans())
    def retry(self, pick: int, fresh: bool) -> None:
        ended = sorted(row.new.id for row in self.model.rows.values() if not row.live)
        id = ended[pick % len(ended)] if ended and pick % 4 else self.known_id(pick)
        expected = self.model.retry_runs([id], fresh)
        if expected[id] == "pending":
            self.restarted.add(id)
        routes = {id: Route(self.model.rows[id].new.group, "workflow")}
        self.do(lambda: self.store.retry_runs(routes, fresh=fresh), expected)

    # Steps and waits

    @precondition(lambda self: self.claims)
    @rule(pick=picks, steps=outcomes)
    def save_steps(self, pick: int, steps: list[tuple[str, str | None, int]]) -> None:
        saved = [
            saved_step(self.claim_at(pick + 4 * other), name, value, tries, self.clock.now())
            for tries, (name, value, other) in enumerate(steps, 1)
        ]
        self.do(lambda: self.store.save_steps(saved), self.model.save_steps(saved))

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks,
        name=names,
        kind=st.sampled_from(["sleep", "signal", "signal", "retry"]),
        event=st.sampled_from(EVENTS),
        lasting=delays,
    )
    def add_wait(self, pick: int, name: str, kind: Any, event: str, lasting: int) -> None:
        key = event if kind == "signal" else None
        wake_at = None if kind == "signal" and lasting == 0 else self.clock.now() + lasting
        wait = NewWait(*self.claim_at(pick), name, kind, key, wake_at)
        self.do(lambda: self.store.add_wait(wait), self.model.add_wait(wait))

    @precondition(lambda self: self.claims)
    @rule(pick=picks, name=names, group=groups, key=st.sampled_from([None, "k"]), delay=delays, waits=st.booleans())
    def start_child(self, pick: int, name: str, group: str, key: str | None, delay: int, waits: bool) -> None:
        id, token = self.claim_at(pick)
        at = max(self.clock.now() + delay, 0)
        child = self.bench.new(workflow="child", group=group, unique_key=key, run_at=at, parent=id, id=self.new_run_id(1))
        if waits:
            self.do(lambda: self.store.invoke_child(id, token, name, child), self.model.invoke_child(id, token, name, child))
        else:
            expected = self.model.enqueue_child(id, token, name, child)
            self.do(lambda: self.store.enqueue_child(id, token, name, child), expected)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, parked=st.lists(names, min_size=1, max_size=2), executed=st.sampled_from([0, 30]))
    def park(self, pick: int, parked: list[str], executed: int) -> None:
        claim = self.claim_at(pick)
        row = self.model.held(*claim)
        waits = list(row.waits) if row is not None and row.waits and pick % 3 else parked
        expected = self.model.park_run(*claim, waits, executed)
        self.do(lambda: self.store.park_run(*claim, waits, executed), expected)

    @rule(event=st.sampled_from(EVENTS), payload=values)
    def signal(self, event: str, payload: str) -> None:
        value = VALUES[payload]
        self.do(lambda: self.store.store_signal(event, value), self.model.store_signal(event, value))

    # Time, groups, schedules

    @rule()
    def wake_due(self) -> None:
        self.timer = None
        self.model.wake_due_runs()
        self.do(lambda: self.store.wake_due_runs(), None)
        self.commit()
        self.timer = self.loop.run_until_complete(self.store.get_next_due())
        assert self.timer == self.model.get_next_due()

    @precondition(lambda self: self.batch is None)
    @rule(by=st.sampled_from(MOVES_OF_THE_CLOCK) | st.sampled_from(["1970", "2027", "2100"]))
    def move_the_clock(self, by: int | str) -> None:
        delta = milliseconds(f"{by}-01-15T08:00:00Z") - self.clock.now() if isinstance(by, str) else by
        self.clock.move(max(delta, EARLIEST_MS - self.clock.now()))
        self.model.now = self.clock.now()

    @precondition(lambda self: self.batch is None)
    @rule(ages=st.tuples(*[st.sampled_from([None, 0, 1_000, DAY])] * 3), limit=st.sampled_from([1, 3, 100]))
    def prune(self, ages: tuple[int | None, ...], limit: int) -> None:
        keep = dict(zip(sorted(TERMINAL), ages, strict=True))
        expired = {state: self.model.expired(state, age) for state, age in keep.items() if age is not None}
        again = self.loop.run_until_complete(self._ask(lambda: self.store.prune_runs(keep, limit)))
        left = set(self.loop.run_until_complete(self.store.list_run_ids(RunFilter())))
        gone = [id for id in self.model.rows if id not in left]
        for state, rows in expired.items():
            went = [row for row in rows if row.new.id in gone]
            assert len(went) == min(limit, len(rows)), state
            assert [row.finished_at for row in went] == [row.finished_at for row in rows[: len(went)]], "the oldest go first"
        assert set(gone) <= {row.new.id for rows in expired.values() for row in rows}
        self.model.prune_runs(gone)
        assert again == self.model.prune_again(keep)
        self.claims = [claim for claim in self.claims if claim[0] not in gone]  # an id that comes again has other tokens

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    @rule(what=st.sampled_from(["pause_schedule", "lift", "fire", "fire", "cannot"]), group=groups, pick=picks)
    def do_something_rarer(self, what: str, group: str, pick: int) -> None:
        if what == "pause_schedule":
            self.pause_schedule(pick % 2 == 0)
        elif what == "lift":
            self.lift("suspect" if pick % 2 else "no_handler")
        elif what == "fire":
            self.fire(group, pick % 6 - 2, pick // 6 % 3)
        else:
            run = self.bench.new(payload='"\ud800"')
            self.do(lambda: self.store.enqueue_runs([run]), StoreError)

    def lift(self, hold: Hold) -> None:
        self.commit()  # it comes in portions, and shares no moment with others
        self.model.release_held_runs(hold)
        self.do(lambda: self.store.release_held_runs(hold), None)

    @rule(group=groups, paused=st.booleans())
    def pause_group(self, group: str, paused: bool) -> None:
        (self.model.paused.add if paused else self.model.paused.discard)(group)
        self.do(lambda: self.store.pause_group(group, paused), None)

    def fire(self, group: str, offset: int, made: int) -> None:
        slot = self.model.last_slot + offset * 1_000
        runs = [self.bench.new(workflow="tick", group=group, run_at=max(slot, 0), id=self.new_run_id(1)) for _ in range(made)]
        self.do(lambda: self.store.fire_schedule("tick", slot, runs), self.model.fire_schedule(slot, runs))

    def pause_schedule(self, paused: bool) -> None:
        slot = self.clock.now()
        self.model.schedule_paused, self.model.last_slot = paused, max(self.model.last_slot, slot)
        self.do(lambda: self.store.pause_schedule("tick", paused, slot), True)

    # Transactions and restarts

    @precondition(lambda self: self.batch is None)
    @rule()
    def begin(self) -> None:
        """What follows is asked for in one moment."""
        self.batch = []

    @precondition(lambda self: self.batch)
    @rule()
    def commit(self) -> None:
        if self.batch is not None:
            deeds, self.batch = self.batch, None
            self._run(deeds)

    @precondition(lambda self: self.batch is None)
    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.stop())
        assert self.backend.strays(self.folder) == []
        self.loop.run_until_complete(self._open())
        self.marks.clear()
        self.do(lambda: self.store.recover_runs("lax", "next"), self.model.recover_runs())
        for hold, found in zip(HOLDS, self.loop.run_until_complete(self.store.list_groups_with_work()), strict=True):
            for group in found:
                self._arrived(group, hold)
        self.wake_due()

    # What holds after each rule

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if self.batch is None:
            before, self.broken = self.broken, True
            self._compare()
            self.broken = before

    def _compare(self, *, whole: bool = False) -> None:
        """Compare all rows, and the steps and waits of those runs that have changed, or of all."""
        rows = self.model.rows
        runs, pruned = self.loop.run_until_complete(self._read())
        known = {id: (decoded(row.steps), waits(row)) for id, row in rows.items()}
        changed = [run.id for run in runs if run != self.seen.get(run.id) or known[run.id] != self.known.get(run.id)]
        inner = self.loop.run_until_complete(self._look_into([*rows] if whole else changed))
        self._check_promises(runs, inner)
        assert len(runs) + sum(pruned.values()) == self.model.accepted, "accepted is what is there and what was pruned"
        assert pruned == dict(self.model.pruned)
        assert {run.id: outer_of(run) for run in runs} == {id: wanted(row) for id, row in rows.items()}
        assert inner == {id: known[id] for id in inner}
        self.seen, self.known = {run.id: run for run in runs}, known
        self.restarted.clear()
        for group in set(GROUPS) - self.model.paused:
            for hold in HOLDS:
                marked = (group, hold) in self.marks
                assert marked or not self.model.claimable(group, hold), f"nobody was told of what is due in {group}, {hold}"
        due = self.model.get_next_due()
        assert due is None or (self.timer is not None and self.timer <= due), f"the timer is late: {self.timer} for {due}"

    async def _read(self) -> tuple[list[Run], dict[str, int]]:
        return await self.store.list_runs(RunFilter(), None), (await self.store.get_stats())["pruned"]

    async def _look_into(self, ids: list[str]) -> dict[str, Any]:
        return {id: inner_of(await self.bench.show(id)) for id in ids}

    def _check_promises(self, runs: list[Run], inner: dict[str, Any]) -> None:
        """What needs no model: tokens only increase, an end and a stored value stay, a key has one live run."""
        for run in runs:
            before = self.seen.get(run.id)
            steps, waiting = inner.get(run.id, ({}, {}))
            if before is not None:
                assert run.claim_token >= before.claim_token
                assert before.state not in TERMINAL or run == before or run.id in self.restarted, "one end"
            if before is not None and run.id in inner and run.id not in self.restarted:
                kept = {name: step for name, step in self.known[run.id][0].items() if step[0] == "succeeded"}
                assert kept.items() <= steps.items(), "a stored value stays"
            assert run.state != "waiting" or run.id not in inner or waiting, f"{run.id} waits for nothing"
        keys = [(run.workflow, run.unique_key) for run in runs if run.unique_key and run.state not in TERMINAL]
        assert len(keys) == len(set(keys))

    def drain(self) -> None:
        """A daemon that knows no more than what it was told ends every run."""
        for group in GROUPS:
            self.pause_group(group, False)
        self.lift("no_handler")
        for _ in range(400):
            if not any(row.live for row in self.model.rows.values()):
                return
            for event in EVENTS:
                self.signal(event, "small")
            self._work_through()
        raise AssertionError(f"never ended: {[row for row in self.model.rows.values() if row.live]}")

    def _work_through(self) -> None:
        held = [claim for claim in self.claims if self.model.held(*claim)]
        if held:
            done = [Completed(*claim, SMALL, WORKER) for claim in held]
            self.model.complete_runs(done)
            self.do(lambda: self.store.complete_runs(done), None)
        elif self.marks:
            for group, hold in list(self.marks):
                self.claim(group, 10, hold)
        elif self.timer is not None:
            self.move_the_clock(max(self.timer - self.clock.now(), 0))
            self.wake_due()
        else:
            live = {id: row for id, row in self.model.rows.items() if row.live}
            circle = [row for row in live.values() if all(wait.key in live for wait in row.waits.values())]
            assert len(circle) == len(live), f"stuck: {live}"
            ids = [circle[0].new.id]  # a child that shares the key of an ancestor waits for it, and it for the child
            self.do(lambda: self.store.cancel_runs(ids), self.model.cancel_runs(ids))


def saved_step(claim: tuple[str, int], name: str, value: str | None, tries: int, now: int) -> SavedStep:
    """A step of a claimed run that succeeded, or failed where there is no value."""
    if value is None:
        return SavedStep(*claim, name, "run", "failed", None, failed_with().as_text(), tries, now, now)
    return SavedStep(*claim, name, "run", "succeeded", VALUES[value], None, tries, now, now)


def shown(claims: Claims) -> tuple[list[tuple[Any, ...]], bool]:
    """What a claim answered, as the model has it."""
    runs = [
        (
            *(run.id, run.token, run.attempts, run.max_attempts, run.crashes, run.executed_ms, run.payload),
            {name: StoredStep(state, text, tries) for name, state, text, tries in run.stored or ()},
        )
        for run in claims.runs
    ]
    return runs, claims.more


def outer_of(run: Run) -> dict[str, Any]:
    """What is compared of a stored run."""
    names = "workflow group state attempts max_attempts crashes priority payload result unique_key parent"
    names += " created_at run_at started_at finished_at claim_token hold cancel_requested error"
    return {name: getattr(run, name) for name in names.split()}


def wanted(row: Row) -> dict[str, Any]:
    """The same of the model."""
    names = "workflow group max_attempts priority unique_key parent"
    of_new = {name: getattr(row.new, name) for name in names.split()}
    names = "state attempts crashes created_at run_at started_at finished_at hold"
    of_row = {name: getattr(row, name) for name in names.split()}
    values = {"payload": json.loads(row.new.payload), "result": json.loads(row.result or "null")}
    error = row.error and row.error.as_json()
    return {**of_new, **of_row, **values, "claim_token": row.token, "cancel_requested": row.cancelling, "error": error}


def inner_of(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Steps and waits of a stored run."""
    steps = {step.name: (step.state, step.error or step.result, step.attempts) for step in run.steps or ()}
    return steps, {wait.name: tuple(wait)[1:] for wait in run.waits}


def decoded(steps: dict[str, StoredStep]) -> dict[str, Any]:
    return {name: (step.state, json.loads(step.text or "null"), step.tries) for name, step in steps.items()}


def waits(row: Row) -> dict[str, Any]:
    return {name: (wait.kind, wait.key, wait.wake_at, wait.started_at) for name, wait in row.waits.items()}


def run_machine(make: Callable[[], StoreMachine], examples: int) -> None:
    """Try so many sequences that are the same each time, or as many at random as the profile says."""
    run_state_machine_as_test(
        make,  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            report_multiple_bugs=False,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def _without_server(item: Resolved | ServedRun | EndedRun) -> Resolved | str:
    """An effect as the model has it, which knows no servers."""
    return item.run_id if isinstance(item, ServedRun | EndedRun) else item._replace(boot_id=None)
