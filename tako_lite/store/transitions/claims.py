"""How due runs are claimed for workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from tako_lite.records import Claimed
from tako_lite.routing import denied
from tako_lite.store.base import Claims, Hold
from tako_lite.store.transitions import limits, rows
from tako_lite.store.transitions.history import fingerprint_of
from tako_lite.store.transitions.runs import ended
from tako_lite.store.transitions.transaction import Transaction

ROUNDS: Final = 8
"""How often one claim looks for other runs in place of those that limits hold."""


def claim(
    transaction: Transaction,
    group: str,
    limit: int,
    hold: Hold | None,
    allowed: Sequence[str] | None,
    server: str,
    boot_id: str,
) -> Claims:
    """Claim up to `limit` due runs of a group, in the order in which they are to start, each under a new token.

    `allowed` are the tenants that may use the group; the runs of others end. A paused group has no runs to claim.
    """
    runs, is_full = _claim_rounds(transaction, group, limit, hold, allowed, server, boot_id)
    more = is_full and transaction.value(transaction.sql.runs.has_due, group=group, hold=hold) == 1
    if again := [run.id for run in runs if run.token > 1]:
        runs = _with_steps(transaction, runs, again)
    return Claims(runs, more)


def _claim_rounds(
    transaction: Transaction,
    group: str,
    limit: int,
    hold: Hold | None,
    allowed: Sequence[str] | None,
    server: str,
    boot_id: str,
) -> tuple[list[Claimed], bool]:
    """The runs that may be executed, and whether more may be due; runs that limits hold are replaced a few times over."""
    found: list[Claimed] = []
    is_full = False
    for _ in range(ROUNDS):
        wanted = limit - len(found)
        claimed = transaction.rows(
            Claimed,
            transaction.sql.runs.claim,
            group=group,
            hold=hold,
            limit=wanted,
            allowed=None if allowed is None else json.dumps(allowed),
            server=server,
            boot_id=boot_id,
            now=transaction.now,
        )
        claimed.sort()
        is_full = len(claimed) == wanted
        count = len(claimed)
        if allowed is not None:
            claimed = _end_denied(transaction, group, claimed, allowed)
        admitted = limits.admit(transaction, group, hold, claimed) if transaction.limits else claimed
        found += admitted
        if not is_full or len(admitted) == count:
            break
    return found, is_full


def _end_denied(transaction: Transaction, group: str, claimed: list[Claimed], allowed: Sequence[str]) -> list[Claimed]:
    """End the runs whose tenant may not use the group; returns the others."""
    for run in claimed:
        if run.state == "dead":
            failure = denied(group, run.tenant, allowed)
            transaction.execute(
                transaction.sql.runs.end_denied,
                id=run.id,
                now=transaction.now,
                error=failure.as_text(),
                fingerprint=fingerprint_of(failure),
            )
            ended(transaction, run.id, "dead")
    return [run for run in claimed if run.state == "running"]


def _with_steps(transaction: Transaction, runs: list[Claimed], again: list[str]) -> list[Claimed]:
    """The same runs, those that were claimed before with the steps that they have stored."""
    sql = transaction.sql.steps
    having = set(transaction.values(sql.select_having_steps, ids=json.dumps(again)))
    return [
        run._replace(stored=tuple(transaction.rows(rows.ClaimedStep, sql.select_for_worker, run_id=run.id)))
        if run.id in having
        else run
        for run in runs
    ]
