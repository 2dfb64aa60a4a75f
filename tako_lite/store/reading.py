"""What people and programs read of the queue: functions of a snapshot, for every backend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from tako_lite.errors import BadInput
from tako_lite.new_run import unknown_run
from tako_lite.records import Attempt, AwaitedSignal, Run, RunStep, RunWait, Upcoming
from tako_lite.states import RunState
from tako_lite.store.base import GroupCounts, RunFilter, StoredStep
from tako_lite.store.filtering import conditions, select_in_states
from tako_lite.store.sql import Statement
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.activity import LAST_ID
from tako_lite.store.transitions.transaction import Snapshot
from tako_lite.why import MOST_AHEAD

SHORTEST_ENDING: Final = 4
"""Characters of an id that people must give at least."""
FEW: Final = 5_000
"""Runs that are sorted within milliseconds."""
NEWEST: Final = 20_000
"""Runs among which those that match a filter are looked for first."""
ALL: Final = 2**63 - 1
"""A limit that no number of rows reaches."""
_ID_LETTERS: Final = frozenset("0123456789abcdef-")
_ID_LENGTH: Final = 36
"""Characters of a whole id, which is looked up; for the end of one, the index of all ids is read."""


def get_run(snapshot: Snapshot, id: str) -> Run | None:
    """A run with its steps and waits, or None."""
    sql = snapshot.sql
    found = snapshot.row(rows.StoredRun, Statement(f"{sql.runs.select} WHERE id = :id"), id=id)
    if found is None:
        return None
    steps = tuple(_step(step) for step in snapshot.rows(rows.ShownStep, sql.steps.select_for_show, run_id=id))
    waits = tuple(snapshot.rows(RunWait, sql.steps.select_waits, run_id=id))
    history = tuple(_attempt(row) for row in snapshot.rows(rows.StoredAttempt, sql.attempts.select, run_id=id))
    repeated_by = tuple(snapshot.values(sql.runs.select_repeats, id=id))
    return _run(found, steps)._replace(waits=waits, history=history, repeated_by=repeated_by)


def get_wait_outcome(snapshot: Snapshot, run_id: str, name: str) -> StoredStep | None:
    """The stored step of a wait that has ended, with the state `gone` if it left none; None while the run waits for it."""
    sql = snapshot.sql.steps
    if any(wait.name == name for wait in snapshot.rows(RunWait, sql.select_waits, run_id=run_id)):
        return None
    return snapshot.row(StoredStep, sql.find, run_id=run_id, name=name) or StoredStep("gone", None, 1)


def list_waits(snapshot: Snapshot, ids: Sequence[str]) -> dict[str, list[RunWait]]:
    """What some runs wait for, by their ids."""
    return {id: snapshot.rows(RunWait, snapshot.sql.steps.select_waits, run_id=id) for id in ids}


def resolve_ending(snapshot: Snapshot, ending: str) -> str:
    """The one id that ends so. Raises BadInput if it is too short or fits two runs, NotFound if it fits none."""
    if len(ending) < SHORTEST_ENDING:
        raise BadInput(f"{ending!r} is too short for a run", hint="give the last 4 or more characters of its id")
    letters = ending.lower()
    ids: list[str] = []
    if set(letters) <= _ID_LETTERS:
        whole = Statement(f"{snapshot.sql.runs.select_ids} WHERE id = :ending")
        ids = snapshot.values(whole if len(letters) == _ID_LENGTH else snapshot.sql.runs.find_by_ending, ending=letters)
    if not ids:
        raise unknown_run(ending)
    if len(ids) > 1:
        raise BadInput(f"more than one run has an id that ends in {ending!r}", hint="give more of its characters")
    return ids[0]


def list_runs(snapshot: Snapshot, chosen: RunFilter, limit: int | None) -> list[Run]:
    """The newest runs first, without their steps; None is no limit.

    Most filters have no index. Runs that match are often among the newest; if not, and few match, the table is read once in
    its own order, which is several times as fast as in that of ids.
    """
    if limit is None or chosen == RunFilter():
        return _select_runs(snapshot, chosen, limit)
    if chosen.states and _are_few(snapshot, chosen.states):
        in_states = f"AND id IN ({select_in_states(snapshot, chosen.states)})"
        return _select_runs(snapshot, chosen, limit, in_states, order="id || ''")  # else all ids are read in their order
    older = find_slice(snapshot, chosen.before, NEWEST)
    if older is not None:
        found = _select_runs(snapshot, chosen, limit, "AND id >= :oldest", oldest=older[0])
        if len(found) >= limit:
            return found
        ids = list_run_ids(snapshot, chosen, FEW + 1, in_order=False)
        if not ids:
            return []
        if len(ids) <= FEW:
            wanted = {f"id_{number}": id for number, id in enumerate(sorted(ids)[-limit:])}
            among = f"AND id IN ({', '.join(f':{name}' for name in wanted)})"
            return _select_runs(snapshot, chosen, limit, among, **wanted)
    return _select_runs(snapshot, chosen, limit)


def _select_runs(
    snapshot: Snapshot, chosen: RunFilter, limit: int | None, also: str = "", *, order: str = "id", **also_names: str
) -> list[Run]:
    where, names = conditions(snapshot, chosen)
    if limit is not None:
        names["limit"] = limit
    end = "" if limit is None else " LIMIT :limit"
    statement = Statement(f"{snapshot.sql.runs.select} {where} {also} ORDER BY {order} DESC{end}")
    return [_run(row, None) for row in snapshot.rows(rows.StoredRun, statement, **names, **also_names)]


def _are_few(snapshot: Snapshot, states: Sequence[RunState]) -> bool:
    """Whether so few runs are in some states that it is best to sort all of them, instead of looking for them by id."""
    chosen = select_in_states(snapshot, states)
    statement = Statement(snapshot.sql.runs.count_chosen.replace("SELECT 1 FROM runs WHERE true", chosen))
    return int(snapshot.value(statement, limit=FEW + 1)) <= FEW


def find_slice(snapshot: Snapshot, before: str | None, count: int) -> tuple[str, str] | None:
    """The last id of the `count` runs before an id, or of the newest ones, and the id after it; None if there are no more."""
    ids = snapshot.values(snapshot.sql.runs.find_slice, before=before or LAST_ID, others=count - 1)
    return (ids[0], ids[1]) if len(ids) == 2 else None


def list_upcoming(snapshot: Snapshot, limit: int) -> list[Upcoming]:
    """The runs that are due next, and those whose waits end next, the earliest first."""
    sql = snapshot.sql.runs
    found = snapshot.rows(Upcoming, sql.select_upcoming, limit=limit)
    found += snapshot.rows(Upcoming, sql.select_waking, limit=limit)
    return sorted(found, key=lambda one: one.at)[:limit]


def list_run_ids(snapshot: Snapshot, chosen: RunFilter, limit: int | None = None, *, in_order: bool = True) -> list[str]:
    """The ids of runs, oldest first unless their order does not matter; None is no limit."""
    where, names = conditions(snapshot, chosen)
    order = "ORDER BY id " if in_order else ""
    statement = Statement(f"{snapshot.sql.runs.select_ids} {where} {order}LIMIT :limit")
    return snapshot.values(statement, **names, limit=ALL if limit is None else limit)


def count_runs(snapshot: Snapshot, chosen: RunFilter, limit: int | None = None) -> int:
    """How many runs there are, counted up to `limit`."""
    where, names = conditions(snapshot, chosen)
    statement = Statement(snapshot.sql.runs.count_chosen.replace("WHERE true", where))
    return int(snapshot.value(statement, **names, limit=ALL if limit is None else limit))


def count_by_group(snapshot: Snapshot, now: int, *, ended: bool = True) -> dict[str, GroupCounts]:
    """What the queue holds, by group; read from the partial indexes alone. `ended` counts what ended within a minute, too."""
    sql = snapshot.sql.runs
    due = {row.group: row for row in snapshot.rows(rows.DueCount, sql.count_due_by_group)}
    later, running, waiting, dead = ({row.group: row.number for row in found} for found in _count_others_by_group(snapshot))
    done: dict[str, int] = {}
    failed: dict[str, int] = {}
    for row in snapshot.rows(rows.FinishedCount, sql.count_finished_since, since=now - 60_000) if ended else ():
        if row.state != "cancelled":
            (done if row.state == "succeeded" else failed)[row.group] = row.number
    counts: dict[str, GroupCounts] = {}
    for group in {*due, *later, *running, *waiting, *dead, *done, *failed}:
        number, oldest = (due[group].number, due[group].oldest) if group in due else (0, None)
        counts[group] = GroupCounts(
            pending=number + later.get(group, 0),
            waiting=waiting.get(group, 0),
            running=running.get(group, 0),
            dead=dead.get(group, 0),
            oldest_due=oldest,
            done_a_minute=done.get(group, 0),
            failed_a_minute=failed.get(group, 0),
            due=number,
        )
    return counts


def _count_others_by_group(snapshot: Snapshot) -> list[list[rows.GroupCount]]:
    """By group: the runs that are due later, that are running, that wait, and that are dead and not discarded."""
    sql = snapshot.sql.runs
    return snapshot.rows_of_each(
        rows.GroupCount,
        sql.count_later_by_group,
        sql.count_running_by_group,
        sql.count_waiting_by_group,
        sql.count_dead_by_group,
    )


def count_held(snapshot: Snapshot, groups: Sequence[str]) -> dict[tuple[str, str], int]:
    """How many due runs of groups have a hold, by group and hold."""
    found = snapshot.rows(rows.HeldCount, snapshot.sql.runs.count_held_by_group, groups=json.dumps(groups))
    return {(row.group, row.hold): row.number for row in found}


def count_by_state(snapshot: Snapshot) -> dict[str, int]:
    """How many runs are in each state that has not ended, and how many are dead and not discarded; from indexes alone.

    Of the pending ones, `due` are those whose time has come, and `scheduled` are the others.
    """
    sql = snapshot.sql.runs
    due = sum(row.number for row in snapshot.rows(rows.DueCount, sql.count_due_by_group))
    later, running, waiting, dead = (sum(row.number for row in found) for found in _count_others_by_group(snapshot))
    return {"due": due, "scheduled": later, "running": running, "waiting": waiting, "dead": dead}


def count_queued_by_workflow(snapshot: Snapshot, limit: int | None = None) -> dict[str, int]:
    """How many runs of each workflow are pending or waiting; it reads a row for each of them, up to about `limit`."""
    statement = snapshot.sql.runs.count_queued_by_workflow
    found = snapshot.rows(rows.WorkflowCount, statement, limit=ALL if limit is None else limit)
    return {row.workflow: row.number for row in found}


def list_awaited(snapshot: Snapshot, limit: int) -> list[AwaitedSignal]:
    """The waits for signals, those that began first."""
    return snapshot.rows(AwaitedSignal, snapshot.sql.signals.select_awaited, limit=limit)


def count_pruned(snapshot: Snapshot) -> dict[str, int]:
    """How many runs retention has deleted in all, by state."""
    return {row.state: row.pruned for row in snapshot.rows(rows.PrunedCount, snapshot.sql.runs.select_ledger)}


def count_runs_ahead(snapshot: Snapshot, run: Run) -> int:
    """How many due runs of its group, with the same hold or none, start before a run; counted up to `MOST_AHEAD` + 1."""
    limit = MOST_AHEAD + 1
    return int(snapshot.value(snapshot.sql.runs.count_ahead, group=run.group, hold=run.hold, id=run.id, limit=limit))


def count_runs_beside(snapshot: Snapshot, run: Run, since: int | None) -> int:
    """How many running runs the limit of a run counts; with a time, how many of its workflow started since then."""
    sql = snapshot.sql.limits
    if since is None:
        return int(snapshot.value(sql.count_running, workflow=run.workflow, key=run.limit_key))
    return int(snapshot.value(sql.count_starts, workflow=run.workflow, key=run.rate_key or "", since=since))


def get_next_due(snapshot: Snapshot) -> int | None:
    """When the next delayed run or timed wait is due, or None."""
    sql = snapshot.sql
    times = (snapshot.value(sql.runs.next_due), snapshot.value(sql.steps.next_wake_at))
    return min((time for time in times if time is not None), default=None)


def list_groups_with_work(snapshot: Snapshot) -> tuple[set[str], set[str]]:
    """The groups that have due runs, and those that have due suspects."""
    sql = snapshot.sql.runs
    return set(snapshot.values(sql.groups_with_work)), set(snapshot.values(sql.groups_with_suspects))


def _run(row: rows.StoredRun, steps: tuple[RunStep, ...] | None) -> Run:
    facts = row._asdict()
    for name in ("payload", "result", "error"):
        facts[name] = None if facts[name] is None else json.loads(facts[name])
    facts["cancel_requested"] = bool(row.cancel_requested)
    facts["not_reached"] = tuple(json.loads(row.not_reached or "[]"))
    return Run(**facts, steps=steps)


def _attempt(row: rows.StoredAttempt) -> Attempt:
    return Attempt(*row[:-1], None if row.error is None else json.loads(row.error))


def _step(row: rows.ShownStep) -> RunStep:
    value, failure = (None if text is None else json.loads(text) for text in (row.result, row.error))
    timed_out = row.state == "succeeded" and failure is not None
    error = None if timed_out else failure
    return RunStep(row.name, row.kind, row.state, value, row.attempts, row.started_at, row.finished_at, error, timed_out)
