"""What the chaos project must come to, besides what holds for every project."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.states import TERMINAL
from tako_lite.trigger_options import EVALUATION
from tests.support.checker import Stored, by_run, read
from tests.support.event_log import EventLog, Fact

ENDS: Final = {
    "steps": ("succeeded", 1),
    "blocking": ("succeeded", 1),
    "flaky": ("succeeded", 3),
    "doomed": ("dead", 2),
    "bails": ("cancelled", 1),
    "sleeper": ("succeeded", 1),
    "signalled": ("succeeded", 1),
    "parent": ("succeeded", 1),
    "child": ("succeeded", 1),
    "brief": ("succeeded", 1),
    "single": ("succeeded", 1),
    "found": ("succeeded", 1),
    "tick": ("succeeded", 1),
}
"""How the runs of a workflow end, and how many attempts they are charged: faults charge none, and fail none."""
BY_ITSELF: Final = ("tick", "found")
"""What the daemon enqueues, as long as it runs."""
MOST_LATE: Final = 98_000
"""Milliseconds; a slot that is fired so much later was the first of a hundred that were missed: none before it fires."""
TENANTS: Final = {"parent": "acme", "child": "acme"}


class Left(NamedTuple):
    """What is in the queue at the end; the cursors of triggers are JSON text."""

    stored: Stored
    cursors: list[str]
    waits: list[tuple[str, str]]


def in_file(queue: Path) -> Left:
    """What is in a queue file. The daemon must be gone."""
    _, stored = read(queue)
    with closing(sqlite3.connect(f"file:{queue}?mode=ro", uri=True)) as connection:
        cursors = [cursor for (cursor,) in connection.execute("SELECT cursor FROM triggers")]
        return Left(stored, cursors, connection.execute("SELECT run_id, name FROM waits").fetchall())


def surprises(witness: Path, left: Left) -> list[str]:
    """What came out otherwise than it should, in a sentence each."""
    facts = EventLog(witness).read()
    runs, stored = by_run(facts), left.stored
    cursors = [json.loads(cursor) for cursor in left.cursors]
    found = [f"{run_id}: still waits for {name}" for run_id, name in left.waits]
    if stored.pruned:
        found.append(f"{stored.pruned} runs were pruned, and all were to be kept")
    for run_id, of_run in runs.items():
        found += [f"{run_id}: {what}" for what in (*_end(of_run), *_compare(stored.runs.get(run_id)))]
    return (
        found + _one_run_for_a_key(facts) + _signals(facts) + _invented(stored, runs) + _slots(stored) + _found(stored, cursors)
    )


def _end(facts: list[Fact]) -> list[str]:
    """Whoever enqueued a run saw its end; of many at a time, the queue is asked."""
    acked = any(fact["kind"] == "acked" and not fact.get("many") for fact in facts)
    return ["was acked and never ended"] if acked and not any(fact["kind"] == "ended" for fact in facts) else []


def _compare(row: Any) -> list[str]:
    if row is None:
        return []  # that is said already
    found = []
    state, attempts = ENDS.get(row["workflow"], (row["state"], row["attempts"]))
    if row["tenant"] != TENANTS.get(row["workflow"]):
        found.append(f"{row['workflow']} is of the tenant {row['tenant']}")
    if row["state"] not in TERMINAL and row["workflow"] not in BY_ITSELF:  # the clock does not stop before the daemon does
        found.append(f"is {row['state']} at the end")
    elif row["state"] in TERMINAL and (row["state"], row["attempts"]) != (state, attempts):
        found.append(f"{row['workflow']} ended {row['state']} after {row['attempts']} attempts: {row['error']}")
    return found


def _one_run_for_a_key(facts: list[Fact]) -> list[str]:
    runs: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact["kind"] == "start":
            runs[fact["key"]].add(fact["run"])
    return [f"{key} made {len(ids)} runs: {sorted(ids)}" for key, ids in runs.items() if len(ids) > 1]


def _signals(facts: list[Fact]) -> list[str]:
    """Who waited for a signal got what was sent."""
    sent = {f"wait_for:{fact['event']}": fact["payload"] for fact in facts if fact["kind"] == "signalling"}
    heard = [fact for fact in facts if fact["kind"] == "saved" and fact["step"].startswith("wait_for:")]
    wrong = [fact for fact in heard if fact["value"] != sent.get(fact["step"])]
    return [f"{fact['run']}: heard {fact['value']!r} of {fact['step']}" for fact in wrong]


def _invented(stored: Stored, runs: dict[str, list[Fact]]) -> list[str]:
    """Nobody enqueues but clients, by their own ids, the schedule, and steps, each step once."""
    asked = {run_id for run_id, facts in runs.items() if any(fact["kind"] == "asked" for fact in facts)}
    rows = stored.runs.values()
    known = [row for row in rows if not row["workflow"].startswith((*BY_ITSELF, EVALUATION))]
    strays = [row for row in known if row["parent"] is None and row["id"] not in asked]
    keys = Counter(json.loads(row["payload"])["key"] for row in rows if row["parent"] is not None)
    found = [f"{row['id']}: nobody asked for it" for row in strays]
    return found + [f"{key} was enqueued {count} times" for key, count in keys.items() if count > 1]


def _slots(stored: Stored) -> list[str]:
    """The schedule of every second made one run for each, also for those in which no daemon ran: the last hundred of them.

    A run that was given back is due from then on, and keeps its place in the order: without a priority, its slot.
    """
    slots = sorted((row["due_order"], row["created_at"]) for row in stored.runs.values() if row["workflow"] == "tick")
    return [
        f"after the slot {slot} came {after}"
        for (slot, _), (after, fired_at) in pairwise(slots)
        if after - slot != 1000 and fired_at - after < MOST_LATE
    ]


def _found(stored: Stored, cursors: list[int | None]) -> list[str]:
    """What the trigger found made one run each, and its cursor says how many there are."""
    found = [json.loads(row["payload"])["key"] for row in stored.runs.values() if row["workflow"] == "found"]
    numbers = sorted(int(key.removeprefix("found/")) for key in found)
    expected = list(range(cursors[0] or 0)) if cursors else []
    return [] if numbers == expected else [f"up to the cursor {cursors}, the trigger made runs of {numbers}"]
