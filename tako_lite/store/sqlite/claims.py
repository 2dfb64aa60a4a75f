"""How due runs are given to workers, inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from tako_lite.records import Claimed
from tako_lite.routing import denied
from tako_lite.store.base import Claims, Hold
from tako_lite.store.sqlite import limits
from tako_lite.store.sqlite.queries import runs as sql
from tako_lite.store.sqlite.queries import steps as steps_sql
from tako_lite.store.sqlite.runs import ended
from tako_lite.store.sqlite.transaction import Transaction

ROUNDS: Final = 8
"""How often one claim looks again for runs in place of those that limits hold."""


def claim(
    transaction: Transaction,
    group: str,
    limit: int,
    hold: Hold | None,
    allowed: Sequence[str] | None,
    server: str,
    boot_id: str,
) -> Claims:
    """Up to `limit` due runs of a group, in the order in which they are to start, each under a new token.

    `allowed` are the tenants that may use the group; the runs of others end.
    """
    names = {
        "group": group,
        "hold": hold,
        "limit": limit,
        "allowed": None if allowed is None else json.dumps(allowed),
        "server": server,
        "boot_id": boot_id,
        "now": transaction.now,
    }
    runs, full = _claimed(transaction, names, allowed)
    more = full and transaction.one(sql.more, {"group": group, "hold": hold}) == (1,)
    again = [run.id for run in runs if run.token > 1]
    if again:
        runs = _with_steps(transaction, runs, again)
    return Claims(runs, more)


def _claimed(transaction: Transaction, names: dict[str, Any], allowed: Sequence[str] | None) -> tuple[list[Claimed], bool]:
    """The runs that may be executed, and whether more may be due: what limits put back is made up for, a few times over."""
    found: list[tuple[Any, ...]] = []
    full, limit = False, names["limit"]
    for _ in range(ROUNDS):
        rows = transaction.execute(sql.claim, {**names, "limit": limit - len(found)}).fetchall()
        rows.sort()
        full = len(rows) == limit - len(found)
        got = len(rows)
        if allowed is not None:
            rows = _bury_denied(transaction, names["group"], rows, allowed)
        admitted = limits.admit(transaction, names["group"], names["hold"], rows) if transaction.limits else rows
        found += admitted
        if not full or len(admitted) == got:
            break
    return [Claimed(*row[1:11]) for row in found], full


def _bury_denied(
    transaction: Transaction, group: str, rows: list[tuple[Any, ...]], allowed: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Tell of the runs that ended when they were to be claimed; returns the others."""
    for row in rows:
        if row[11] == "dead":
            error = denied(group, row[9], allowed).as_text()
            transaction.execute(sql.bury_denied, {"id": row[1], "now": transaction.now, "error": error})
            ended(transaction, row[1], "dead")
    return [row for row in rows if row[11] == "running"]


def _with_steps(transaction: Transaction, runs: list[Claimed], again: list[str]) -> list[Claimed]:
    having = {row[0] for row in transaction.execute(steps_sql.has_steps, (json.dumps(again),)).fetchall()}
    return [
        run._replace(stored=tuple(transaction.execute(steps_sql.of_run, (run.id,)).fetchall())) if run.id in having else run
        for run in runs
    ]
