"""The one judge: reads the witness log, and the queue only to compare, and returns what was promised and not kept."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.states import TERMINAL
from tests.support.event_log import EventLog, Fact, as_logged

RUNS: Final = """
    SELECT runs.*, coalesce(large_values.value, result) AS value FROM runs
    LEFT JOIN large_values ON run_id = id AND kind = 'result'
"""
STEPS: Final = """
    SELECT steps.run_id, name, coalesce(value, result) AS value FROM steps
    LEFT JOIN large_values ON large_values.run_id = steps.run_id AND large_values.kind = 'step:' || name
"""


class Stored(NamedTuple):
    """What the queue has: runs and the values of steps by id, and how many runs retention took away."""

    runs: dict[str, Any]
    steps: dict[tuple[str, str], str | None]
    pruned: int


def violations(witness: Path, queue: Path) -> list[str]:
    """Every broken promise, in a sentence. The daemon must be gone: this opens the queue file itself."""
    return judge(witness, *read(queue))


def judge(witness: Path, unsound: list[str], stored: Stored) -> list[str]:
    """Every broken promise, in a sentence, by the witness log, what is wrong with the queue itself, and what is in it."""
    facts = EventLog(witness).read()
    found = [f"trouble: {fact['text']}" for fact in facts if fact["kind"] == "trouble"]
    found += unsound
    for run_id, of_run in by_run(facts).items():
        wrong = [what for check in (_overlaps, _steps, _cancels, _ends) for what in check(of_run)]
        found += [f"{run_id}: {what}" for what in (*wrong, *_compare(run_id, of_run, stored))]
    return found


def by_run(facts: list[Fact]) -> dict[str, list[Fact]]:
    """The facts of each run; one of many runs is one of each."""
    runs: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        for run_id in fact["runs"] if "runs" in fact else [fact["run"]] if "run" in fact else []:
            runs[run_id].append(fact)
    return runs


def read(queue: Path) -> tuple[list[str], Stored]:
    """What is wrong with the queue file itself, and what is in it."""
    connection = sqlite3.connect(f"file:{queue}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        found = [f"quick_check: {row[0]}" for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
        if not connection.execute("PRAGMA user_version").fetchone()[0]:  # its maker was killed before it made the tables
            return found, Stored({}, {}, 0)
        runs = {row["id"]: row for row in connection.execute(RUNS)}
        steps = {(row["run_id"], row["name"]): row["value"] for row in connection.execute(STEPS)}
        (pruned,) = connection.execute("SELECT coalesce(sum(pruned), 0) FROM ledger").fetchone()
        waits = connection.execute("SELECT run_id, name FROM waits").fetchall()
    finally:
        connection.close()
    return found + late_waits(runs, waits), Stored(runs, steps, pruned)


def late_waits(runs: dict[str, Any], waits: Iterable[Any]) -> list[str]:
    """The waits of runs that have ended."""
    late = [row for row in waits if runs[row["run_id"]]["state"] in TERMINAL]
    return [f"{row['run_id']}: has ended, and waits for {row['name']}" for row in late]


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
        elif fact["kind"] == "retried":
            newest = newest and {**newest, "attempt": 0}
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
        elif fact["kind"] == "retried" and fact["fresh"]:
            values = {}
    return found


def _cancels(facts: list[Fact]) -> list[str]:
    """Nothing of a run that was told cancelled starts again."""
    found = []
    cancelled = False
    for fact in facts:
        if fact["kind"] == "cancel" and fact["outcome"] == "cancelled":
            cancelled = True
        elif fact["kind"] == "retried":
            cancelled = False
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
        elif fact["kind"] == "retried":
            ended = None
        elif fact["kind"] == "ended":
            if ended is not None and any(fact[key] != ended[key] for key in ("state", "result", "attempts")):
                found.append(f"ended {ended['state']} and {fact['state']}")
            ended = fact
    return found


def _compare(run_id: str, facts: list[Fact], stored: Stored) -> list[str]:
    """What was seen of a run is in the queue: the run, its end, the values of its steps."""
    kinds = {fact["kind"] for fact in facts}
    row = stored.runs.get(run_id)
    if row is None:
        return (
            []
            if stored.pruned
            else [f"is not in the queue, but it {kind}" for kind in ("acked", "start", "ended") if kind in kinds]
        )
    found = []
    retries = [number for number, fact in enumerate(facts) if fact["kind"] == "retried"]
    for fact in facts[retries[-1] if retries else 0 :]:
        if fact["kind"] == "ended" and (fact["state"], fact["result"]) != (
            row["state"],
            as_logged(json.loads(row["value"] or "null")),
        ):
            found.append(f"was seen {fact['state']}, and is {row['state']}")
        elif fact["kind"] == "saved":
            value = stored.steps.get((run_id, fact["step"]), "nothing")
            if value == "nothing" or as_logged(json.loads(value or "null")) != fact["value"]:
                found.append(f"step {fact['step']} is not stored as it was seen")
    return found
