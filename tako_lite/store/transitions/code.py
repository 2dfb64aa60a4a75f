"""The code that runs began with, and runs that are held because they do not fit the current code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tako_lite.records import Failure
from tako_lite.store.base import OtherCode
from tako_lite.store.transitions import history, limits, rows
from tako_lite.store.transitions.runs import cancel_if_requested
from tako_lite.store.transitions.transaction import Snapshot, Transaction


def put(transaction: Transaction, server: str, code: Mapping[str, str]) -> None:
    """Make the stored hashes of a server those of its catalog."""
    transaction.execute_many(transaction.sql.code.put, [rows.WorkflowCode(server, *known) for known in sorted(code.items())])
    transaction.execute(transaction.sql.code.retire, server=server, workflows=json.dumps(sorted(code)))


def note_not_reached(transaction: Transaction, id: str, token: int, names: Sequence[str]) -> None:
    """Store which steps the attempt of a claimed run did not reach again; a stale claim changes nothing."""
    transaction.execute(transaction.sql.code.note_not_reached, id=id, token=token, names=_text(names))


def hold(
    transaction: Transaction, id: str, token: int, names: Sequence[str], failure: Failure, executed_ms: int, pid: int | None
) -> bool:
    """Re-queue a claimed run, uncharged, and hold it; or cancel it if that was requested. False for a stale claim."""
    held = transaction.execute(
        transaction.sql.code.hold, id=id, token=token, names=_text(names), executed_ms=executed_ms, now=transaction.now
    )
    if not held:
        return cancel_if_requested(transaction, id, token, pid)
    history.record_attempt(transaction, rows.Claim(id, token), "released", pid, failure, False)
    limits.left(transaction, id)
    return True


def accept(transaction: Transaction, id: str) -> bool:
    """Release a run that is held because of its steps, to be continued with the current code; False for any other run."""
    group = transaction.value(transaction.sql.code.accept, id=id)
    if group is not None:
        transaction.effects.ready.add(group)
    return group is not None


def count_others(snapshot: Snapshot, server: str) -> list[OtherCode]:
    """The waiting runs that began with other code than a server has now, by workflow."""
    return snapshot.rows(OtherCode, snapshot.sql.code.count_others, server=server)


def count_held(snapshot: Snapshot, groups: Sequence[str]) -> list[OtherCode]:
    """The runs of groups that are held because of their steps, by workflow."""
    return snapshot.rows(OtherCode, snapshot.sql.code.count_held, groups=json.dumps(groups))


def _text(names: Sequence[str]) -> str:
    return json.dumps(names, ensure_ascii=False)
