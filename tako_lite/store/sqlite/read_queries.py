"""What people and programs read of the queue, on a connection that cannot write."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tako_lite.errors import BadInput
from tako_lite.new_run import unknown_run
from tako_lite.records import Run, Step, Wait
from tako_lite.store.base import GroupCounts, RunFilter
from tako_lite.store.sqlite.file import translate
from tako_lite.store.sqlite.queries import limits as limits_sql
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql

SHORTEST_ENDING = 4


def get(connection: sqlite3.Connection, id: str) -> Run | None:
    """A run with its steps and waits."""
    with _snapshot(connection):
        row = connection.execute(f"{sql.get} WHERE id = ?", (id,)).fetchone()
        if row is None:
            return None
        steps = tuple(_step(step) for step in connection.execute(steps_sql.list, (id,)))
        waits = tuple(Wait(*wait) for wait in connection.execute(steps_sql.waits_of, (id,)))
        return _run(row, steps, waits)


def resolve_ending(connection: sqlite3.Connection, ending: str) -> str:
    """The one id that ends so. Raises BadInput where it is too short or fits two, NotFound where it fits none."""
    if len(ending) < SHORTEST_ENDING:
        raise BadInput(f"{ending!r} is too short for a run", hint="give the last 4 or more characters of its id")
    pattern = "%" + ending.lower()
    rows = connection.execute(sql.ending, (pattern,)).fetchall() if set(ending.lower()) <= _ID_LETTERS else []
    if not rows:
        raise unknown_run(ending)
    if len(rows) > 1:
        raise BadInput(f"more than one run has an id that ends in {ending!r}", hint="give more of its characters")
    return str(rows[0][0])


_ID_LETTERS = frozenset("0123456789abcdef-")


def list_runs(connection: sqlite3.Connection, chosen: RunFilter, limit: int | None) -> list[Run]:
    """The newest runs first, without their steps; None is no limit."""
    where, values = _where(chosen)
    rows = connection.execute(f"{sql.get} {where} ORDER BY id DESC LIMIT ?", [*values, -1 if limit is None else limit])
    return [_run(row, None, ()) for row in rows]


def ids(connection: sqlite3.Connection, chosen: RunFilter) -> list[str]:
    """The ids of runs, oldest first."""
    where, values = _where(chosen)
    return [row[0] for row in connection.execute(f"{sql.ids} {where} ORDER BY id", values)]


def counts(connection: sqlite3.Connection, now: int) -> dict[str, GroupCounts]:
    """What the queue holds, by group; read from the partial indexes alone."""
    with _snapshot(connection):
        pending = {group: (count, oldest) for group, count, oldest in connection.execute(sql.pending_by_group)}
        later, running, waiting, dead = (
            dict(connection.execute(statement).fetchall())
            for statement in (sql.later_by_group, sql.running_by_group, sql.waiting_by_group, sql.dead_by_group)
        )
        done: dict[str, int] = {}
        failed: dict[str, int] = {}
        for state, group, count in connection.execute(sql.finished_since, (now - 60_000,)):
            if state != "cancelled":
                (done if state == "succeeded" else failed)[group] = count
    groups = set(pending) | set(later) | set(running) | set(waiting) | set(dead) | set(done) | set(failed)
    return {
        group: GroupCounts(
            pending=pending.get(group, (0, None))[0] + later.get(group, 0),
            waiting=waiting.get(group, 0),
            running=running.get(group, 0),
            dead=dead.get(group, 0),
            oldest_due=pending.get(group, (0, None))[1],
            done_a_minute=done.get(group, 0),
            failed_a_minute=failed.get(group, 0),
            due=pending.get(group, (0, None))[0],
        )
        for group in groups
    }


def queued_by_workflow(connection: sqlite3.Connection) -> dict[str, int]:
    """How many runs of each workflow are pending or waiting; it reads a row for each of them."""
    return dict(connection.execute(sql.queued_by_workflow).fetchall())


def stats(connection: sqlite3.Connection) -> dict[str, Any]:
    """The size of the file in bytes, and what retention took away, by state."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return {"file_bytes": pages * size, "pruned": dict(connection.execute(sql.ledger).fetchall())}


def ahead(connection: sqlite3.Connection, run: Run) -> int:
    """How many due runs of its group, held for the same reason or for none as it is, are to start before a run."""
    names = {"group": run.group, "hold": run.hold, "id": run.id}
    return int(connection.execute(sql.ahead, names).fetchone()[0])


def beside(connection: sqlite3.Connection, run: Run, since: int | None) -> int:
    """How many runs are running that a run's limit counts; with a time, how many of its workflow began since then."""
    if since is None:
        return int(connection.execute(limits_sql.running, (run.workflow, run.limit_key)).fetchone()[0])
    return int(connection.execute(limits_sql.began, (run.workflow, run.rate_key or "", since)).fetchone()[0])


def backup(connection: sqlite3.Connection, file: Path) -> int:
    """A consistent copy in a new file of mode 0600, while others write; returns its bytes.

    Raises BadInput if the file is there already. A copy that fails is taken away again.
    """
    if not file.is_absolute() or "\0" in str(file):
        raise BadInput("the name of a backup is an absolute path")
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        raise BadInput(f"{file} is there already", hint="name a file that is not") from None
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
    try:
        with closing(sqlite3.connect(file)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        return file.stat().st_size
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise translate(error, file) from error
        raise


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several reads of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _where(chosen: RunFilter) -> tuple[str, list[Any]]:
    parts: list[str] = ["id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)"]
    values: list[Any] = []
    for column, value in (("workflow = ?", chosen.workflow), ("worker_group = ?", chosen.group)):
        if value is not None:
            parts.append(column)
            values.append(value)
    if chosen.states:
        parts.append(f"state IN ({', '.join('?' * len(chosen.states))})")
        values.extend(chosen.states)
    if chosen.since is not None:
        parts.append("created_at >= ?")
        values.append(chosen.since)
    if chosen.before is not None:
        parts.append("id < ?")
        values.append(chosen.before)
    return f"WHERE {' AND '.join(parts)}", values


def _run(row: tuple[Any, ...], steps: tuple[Step, ...] | None, waits: tuple[Wait, ...]) -> Run:
    values = (None if text is None else json.loads(text) for text in row[9:12])
    fields: list[Any] = [*row[:9], *values, *row[12:23], bool(row[23]), *row[24:], steps, waits]
    return Run(*fields)


def _step(row: tuple[Any, ...]) -> Step:
    name, state, result, attempts, started_at, finished_at, error = row
    value, failure = (None if text is None else json.loads(text) for text in (result, error))
    timed_out = state == "succeeded" and failure is not None
    return Step(name, state, value, attempts, started_at, finished_at, None if timed_out else failure, timed_out)
