"""The runs of hook workflows that follow from deaths; they are stored in the transaction of the death."""

from __future__ import annotations

import json
from typing import Any, Final

from tako_lite.clock import iso
from tako_lite.hooks import Death
from tako_lite.routing import matches_any
from tako_lite.store.base import Hooks
from tako_lite.store.transitions import rows
from tako_lite.store.transitions.enqueue import enqueue
from tako_lite.store.transitions.transaction import Transaction

MAX_MESSAGE: Final = 4_096


def follow_deaths(transaction: Transaction) -> None:
    """Store a run of each matching hook workflow for each run that has died. Each dead run is the parent of its hook runs."""
    while transaction.died:
        died, transaction.died = transaction.died, []
        for id in died:
            if transaction.hooks is not None:
                _follow(transaction, transaction.hooks, id)


def _follow(transaction: Transaction, hooks: Hooks, id: str) -> None:
    dead = transaction.row(rows.DeadRun, transaction.sql.runs.find_dead, id=id)
    if dead is None:  # an evaluation of a trigger, whose row is gone
        return
    matching = [hook for hook in hooks.on_dead if matches_any(dead.workflow, hook.patterns)]
    if not matching or _descends_from_hook(transaction, hooks, id):
        return
    payload = death_payload(id, dead)
    for hook in matching:
        run = hook.make(payload, id, transaction.now)
        (made,) = enqueue(transaction, [run])
        if made.state == "pending" and run.run_at <= transaction.now:
            transaction.effects.ready.add(run.group)


def _descends_from_hook(transaction: Transaction, hooks: Hooks, id: str) -> bool:
    """Whether the run, or one that it descends from, is of a hook workflow: its death makes no other hook run."""
    return transaction.exists(transaction.sql.runs.descends_from, id=id, workflows=json.dumps(sorted(hooks.workflows)))


def death_payload(id: str, dead: rows.DeadRun) -> str:
    """The payload of the hook runs of a dead run, a `hooks.Death` as JSON text."""
    error: dict[str, Any] = json.loads(dead.error or "{}")
    message = str(error.get("message") or "")
    death = Death(
        run_id=id,
        workflow=dead.workflow,
        group=dead.group,
        tenant=dead.tenant,
        attempts=dead.attempts,
        error=str(error.get("type") or ""),
        message=message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…",
        reason=error.get("reason"),
        finished_at=iso(dead.finished_at) or "",
        see=f"tako-lite show {id}",
    )
    return json.dumps({name: getattr(death, name) for name in Death.__slots__}, ensure_ascii=False)  # faster than asdict
