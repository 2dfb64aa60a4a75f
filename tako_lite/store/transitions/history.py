"""The history of runs: a row for each attempt of a run that did not succeed at once, and for each try of such a step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from tako_lite.fingerprint import fingerprint_of_word
from tako_lite.records import Failure
from tako_lite.states import AttemptKind
from tako_lite.store.base import Completed, SavedStep
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.transaction import Transaction

KEPT: Final = 200
"""How many of the newest attempts of a run, and tries of a step, are kept; up to `TRIM_EVERY` more until they are trimmed."""
TRIM_EVERY: Final = 100

_BY_REASON: Final[dict[str | None, AttemptKind]] = {
    "timeout": "timeout",
    "crashed": "crashed",
    "bailed": "bailed",
    "cancelled": "cancelled",
}


def kind_of(failure: Failure | None) -> AttemptKind:
    """How an attempt ended that left this failure; without one it was postponed."""
    return "postponed" if failure is None else _BY_REASON.get(failure.reason, "failed")


def fingerprint_of(failure: Failure | None) -> str | None:
    """What groups this failure with others of its kind; None for what is no error."""
    if failure is None or failure.reason in ("bailed", "cancelled"):
        return None
    return failure.fingerprint or fingerprint_of_word(failure.reason or failure.type)


def record_attempt(
    transaction: Transaction, claim: rows.Claim, kind: AttemptKind, pid: int | None, failure: Failure | None, charged: bool
) -> None:
    """Record how the attempt ended that was made under a claim. The row of the run has changed already."""
    sql = transaction.sql.attempts
    transaction.execute(
        sql.record,
        id=claim.id,
        token=claim.token,
        kind=kind,
        now=transaction.now,
        charged=int(charged),
        pid=pid,
        error=None if failure is None else failure.as_text(),
        fingerprint=fingerprint_of(failure),
    )
    if claim.token % TRIM_EVERY == 0:
        transaction.execute(sql.delete_oldest, run_id=claim.id, step="", most=KEPT)


def record_interrupted(transaction: Transaction, claims: Sequence[rows.Claim]) -> None:
    """Record for many runs that the attempt of their last claim was interrupted, uncharged."""
    sql = transaction.sql.attempts
    transaction.execute(sql.record_interrupted, ids=json.dumps([claim.id for claim in claims]), now=transaction.now)
    for claim in claims:
        if claim.token % TRIM_EVERY == 0:
            transaction.execute(sql.delete_oldest, run_id=claim.id, step="", most=KEPT)


def record_successes(transaction: Transaction, done: Sequence[Completed]) -> None:
    """Record the last attempts of runs that were claimed more than once."""
    again = [rows.SucceededAgain(run.id, run.token, run.pid, transaction.now) for run in done if run.token > 1]
    if again:
        transaction.execute_many(transaction.sql.attempts.record_success, again)


def record_tries(transaction: Transaction, steps: Sequence[SavedStep], pid: int | None) -> None:
    """Record the tries of steps that failed, and the one that succeeded after them."""
    sql = transaction.sql.attempts
    tries = [
        rows.StepTry(
            step.run_id, step.token, step.name, step.tries, step.state, step.started_at, step.finished_at, pid, step.error
        )
        for step in steps
        if step.kind == "run" and (step.state == "failed" or step.tries > 1)
    ]
    if not tries:
        return
    transaction.execute_many(sql.record_try, tries)
    for step in tries:
        if step.number % TRIM_EVERY == 0:
            transaction.execute(sql.delete_oldest, run_id=step.run_id, step=step.step, most=KEPT)
