"""Repair of a rescued queue: fixes rows that refer to lost ones, so that no run waits forever."""

from __future__ import annotations

import sqlite3

from tako_lite.store.rescued import Rescued, Tally
from tako_lite.store.sqlite.queries import rescue as sql


def repair(new: sqlite3.Connection, done: Rescued, now: int) -> None:
    """Delete rows that refer to lost ones, and make the runs due that waited for them."""
    tables = done.tables
    all_of_them = not tables["waits"].is_sound
    for statement in (sql.drop_without_payload, sql.drop_without_result):
        done.runs.update(_drop(new, tables["runs"], statement))
    new.execute(sql.forget_error)
    _drop(new, tables["steps"], sql.drop_step_without_value)
    if all_of_them:
        _part_children(new, done)
    if not tables["runs"].is_sound:
        for table, statement in (
            ("steps", sql.drop_steps),
            ("attempts", sql.drop_attempts),
            ("waits", sql.drop_waits),
            ("large_values", sql.drop_values),
        ):
            done.runs.update(_drop(new, tables[table], statement))
        tables["runs"].lost = max(tables["runs"].lost, len(done.runs))
        _drop(new, tables["waits"], sql.drop_waits_for_lost)
        new.execute(sql.end_evaluations)
    if not tables["steps"].is_sound:
        _drop(new, tables["large_values"], sql.drop_values_of_steps)
    if not tables["triggers"].is_sound:
        _drop(new, tables["runs"], sql.drop_evaluations)
    done.unlisted -= done.runs
    tables["runs"].unlisted = len(done.unlisted)
    new.execute(sql.wake, {"now": now, "all": all_of_them})


def _part_children(new: sqlite3.Connection, done: Rescued) -> None:
    """Parents restart children that they do not know of: those that had not begun are deleted, the others reported.

    If steps were lost as well, a parent may have started a child without waiting for it; such children stay.
    """
    if done.tables["steps"].is_sound:
        done.runs.update(_drop(new, done.tables["runs"], sql.drop_unbegun_children))
    done.repeated.update(id for (id,) in new.execute(sql.unknown_children))


def _drop(new: sqlite3.Connection, tally: Tally, statement: str) -> set[str]:
    """Delete useless rows, and return the runs that they belong to."""
    dropped = [id for (id,) in new.execute(statement).fetchall()]
    tally.rescued -= len(dropped)
    tally.lost += len(dropped)
    return set(dropped)
