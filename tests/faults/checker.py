"""The one judge: reads the witness log, and the queue only to compare, and returns what was promised and not kept."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from tako_lite.states import TERMINAL
from tako_lite.trigger import EVALUATION
from tests.faults.witness import Fact, Witness

ENDS = {
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
BY_ITSELF = ("tick", "found")
"""What the daemon enqueues, as long as it runs."""
TENANTS = {"parent": "acme", "child": "acme"}


def violations(witness: Path, queue: Path) -> list[str]:
    """Every broken promise, in a sentence. The daemon must be gone: this opens the queue file itself."""
    facts = Witness(witness).read()
    by_run: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if "run" in fact:
            by_run[fact["run"]].append(fact)
    found = [f"trouble: {fact['text']}" for fact in facts if fact["kind"] == "trouble"]
    for run_id, of_run in by_run.items():
        found += [f"{run_id}: {what}" for check in (_overlaps, _steps, _cancels, _ends) for what in check(of_run)]
    return found + _one_run_for_a_key(facts) + _signals(facts) + _queue(queue, by_run)


def _overlaps(facts: list[Fact]) -> list[str]:
    """Attempts never overlap: once one started, nothing is heard of an earlier one, and its processes are dead."""
    found = []
    newest: Fact | None = None
    for fact in facts:
        if fact["kind"] == "start":
            found += [f"attempt {fact['token']} started while {left} was alive" for left in fact["alive"]]
            if newest is not None and fact["token"] <= newest["token"]:
                found.append(f"token {fact['token']} came after {newest['token']}")
            if newest is not None and fact["attempt"] < newest["attempt"]:
                found.append(f"attempt {fact['attempt']} came after {newest['attempt']}")
            newest = fact
        elif newest is not None and "token" in fact and fact["token"] != newest["token"]:
            found.append(f"{fact['kind']} of token {fact['token']} (pid {fact['pid']}) after token {newest['token']} started")
    return found


def _steps(facts: list[Fact]) -> list[str]:
    """A stored value never changes, and its body never starts again."""
    found = []
    values: dict[str, Any] = {}
    for fact in facts:
        if fact["kind"] == "body" and fact["step"] in values:
            found.append(f"step {fact['step']} ran again under token {fact['token']} after its value was stored")
        elif fact["kind"] == "saved" and values.setdefault(fact["step"], fact["value"]) != fact["value"]:
            found.append(f"step {fact['step']} was {values[fact['step']]!r} and became {fact['value']!r}")
    return found


def _cancels(facts: list[Fact]) -> list[str]:
    """Nothing of a run that was told cancelled starts again."""
    found = []
    cancelled = False
    for fact in facts:
        if fact["kind"] == "cancel" and fact["outcome"] == "cancelled":
            cancelled = True
        elif cancelled and fact["kind"] in ("start", "body"):
            found.append(f"{fact['kind']} after it was cancelled")
        elif cancelled and fact["kind"] == "ended" and fact["state"] != "cancelled":
            found.append(f"ended {fact['state']} after it was cancelled")
    return found


def _ends(facts: list[Fact]) -> list[str]:
    """One end, the same for everybody who sees it, and no attempt after it."""
    found = []
    ended: Fact | None = None
    for fact in facts:
        if fact["kind"] == "start" and ended is not None:
            found.append(f"attempt {fact['token']} started after the end")
        elif fact["kind"] == "ended":
            if ended is not None and any(fact[key] != ended[key] for key in ("state", "result", "attempts")):
                found.append(f"ended {ended['state']} and {fact['state']}")
            ended = fact
    if ended is None and any(fact["kind"] == "acked" and not fact.get("many") for fact in facts):  # of many, the queue is asked
        found.append("was acked and never ended")
    return found


def _one_run_for_a_key(facts: list[Fact]) -> list[str]:
    runs: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact["kind"] == "start":
            runs[fact["key"]].add(fact["run"])
    return [f"{key} made {len(ids)} runs: {sorted(ids)}" for key, ids in runs.items() if len(ids) > 1]


def _signals(facts: list[Fact]) -> list[str]:
    """Who waited for a signal got what was sent."""
    sent = {fact["event"]: fact["payload"] for fact in facts if fact["kind"] == "signalling"}
    heard = [fact for fact in facts if fact["kind"] == "saved" and fact["step"].startswith("go:")]
    wrong = [fact for fact in heard if fact["value"] != sent.get(fact["step"])]
    return [f"{fact['run']}: heard {fact['value']!r} of {fact['step']}" for fact in wrong]


def _queue(queue: Path, by_run: dict[str, list[Fact]]) -> list[str]:
    """Compare with the file: sound, every acked run in it, ended as it should, nothing that nobody asked for."""
    connection = sqlite3.connect(f"file:{queue}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        found = [f"quick_check: {row[0]}" for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
        rows = {row["id"]: row for row in connection.execute("SELECT * FROM runs")}
        stored = {(row["run_id"], row["name"]): row["result"] for row in connection.execute("SELECT * FROM steps")}
        pruned = connection.execute("SELECT coalesce(sum(pruned), 0) FROM ledger").fetchone()[0]
        left = connection.execute("SELECT run_id, name FROM waits").fetchall()
        cursors = [json.loads(row[0]) for row in connection.execute("SELECT cursor FROM triggers")]
    finally:
        connection.close()
    found += [f"{row['run_id']}: still waits for {row['name']}" for row in left]
    if pruned:
        found.append(f"{pruned} runs were pruned, and all were to be kept")
    for run_id, facts in by_run.items():
        kinds = {fact["kind"] for fact in facts}
        if run_id not in rows:
            found += [f"{run_id}: is not in the queue, but it {kind}" for kind in ("acked", "start", "ended") if kind in kinds]
        else:
            found += [f"{run_id}: {what}" for what in _compare(rows[run_id], facts, stored)]
    return found + _invented(rows, by_run) + _slots(rows) + _found(rows, cursors)


def _invented(rows: dict[str, sqlite3.Row], by_run: dict[str, list[Fact]]) -> list[str]:
    """Nobody enqueues but clients, by their own ids, the schedule, and steps, each step once."""
    asked = {run_id for run_id, facts in by_run.items() if any(fact["kind"] == "asked" for fact in facts)}
    known = [row for row in rows.values() if not row["workflow"].startswith((*BY_ITSELF, EVALUATION))]
    strays = [row for row in known if row["parent"] is None and row["id"] not in asked]
    keys = Counter(json.loads(row["payload"])["key"] for row in rows.values() if row["parent"] is not None)
    found = [f"{row['id']}: nobody asked for it" for row in strays]
    return found + [f"{key} was enqueued {count} times" for key, count in keys.items() if count > 1]


def _slots(rows: dict[str, sqlite3.Row]) -> list[str]:
    """The schedule of every second made one run for each, also for those in which no daemon ran.

    A run that was given back is due from then on, and keeps its place in the order: without a priority, its slot.
    """
    slots = sorted(row["due_order"] for row in rows.values() if row["workflow"] == "tick")
    return [f"after the slot {slot} came {after}" for slot, after in pairwise(slots) if after - slot != 1000]


def _found(rows: dict[str, sqlite3.Row], cursors: list[int | None]) -> list[str]:
    """What the trigger found made one run each, and its cursor says how many there are."""
    numbers = sorted(int(json.loads(row["payload"])["key"][6:]) for row in rows.values() if row["workflow"] == "found")
    expected = list(range(cursors[0] or 0)) if cursors else []
    return [] if numbers == expected else [f"up to the cursor {cursors}, the trigger made runs of {numbers}"]


def _compare(row: sqlite3.Row, facts: list[Fact], stored: dict[tuple[str, str], Any]) -> list[str]:
    found = []
    state, attempts = ENDS.get(row["workflow"], (row["state"], row["attempts"]))
    if row["tenant"] != TENANTS.get(row["workflow"]):
        found.append(f"{row['workflow']} is of the tenant {row['tenant']}")
    if row["state"] not in TERMINAL and row["workflow"] not in BY_ITSELF:  # the clock does not stop before the daemon does
        found.append(f"is {row['state']} at the end")
    elif row["state"] in TERMINAL and (row["state"], row["attempts"]) != (state, attempts):
        found.append(f"{row['workflow']} ended {row['state']} after {row['attempts']} attempts: {row['error']}")
    for fact in facts:
        if fact["kind"] == "ended" and (fact["state"], fact["result"]) != (row["state"], json.loads(row["result"] or "null")):
            found.append(f"was seen {fact['state']}, and is {row['state']}")
        if fact["kind"] == "saved":
            name = fact["step"] if (row["id"], fact["step"]) in stored else f"wait_for:{fact['step']}"
            if (row["id"], name) not in stored or json.loads(stored[row["id"], name] or "null") != fact["value"]:
                found.append(f"step {fact['step']} is not stored as it was seen")
    return found
