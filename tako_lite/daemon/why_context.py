"""Collects the context of a run for `why`: its group, its worker and its children."""

from __future__ import annotations

import asyncio
from typing import Literal

from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.limits import crowd_before
from tako_lite.daemon.worker_session import WorkerSession
from tako_lite.processes.group import Group
from tako_lite.records import Run
from tako_lite.store.base import Store
from tako_lite.why import WhyContext


async def gather_context(run: Run, store: Store, dispatcher: Dispatcher, now: int, *, is_stopping: bool) -> WhyContext:
    """The current context of a run."""
    ahead = await store.count_runs_ahead(run) if run.state == "pending" else 0
    children = [await store.get_run(wait.key) for wait in run.waits if wait.kind == "child" and wait.key]
    group, session, trouble = dispatcher.groups.get(run.group), dispatcher.find(run.id), store.trouble
    alike = [worker for worker in group.workers if worker.solo == (run.hold or "").startswith("suspect")] if group else []
    return WhyContext(
        now=now,
        has_daemon=True,
        is_stopping=is_stopping,
        trouble=trouble.message if trouble else None,
        is_paused=group is not None and group.paused,
        group_error=group.last_error if group is not None and group.failures else None,
        next_try=_next_try(group),
        taking=sum(worker.takes_work for worker in alike),
        starting=sum(worker.state == "starting" for worker in alike),
        ahead=ahead,
        limit_holders=await crowd_before(run, dispatcher.catalog, store, now),
        pid=session.worker.pid if session else None,
        worker=_worker_condition(session),
        children={child.id: child for child in children if child},
    )


def _next_try(group: Group | None) -> float | None:
    at = group.next_try_at if group is not None else None
    return None if at is None else max(0.0, at - asyncio.get_running_loop().time())


def _worker_condition(session: WorkerSession | None) -> Literal["working", "stopping", "ended"]:
    if session is None:
        return "working"
    if session.worker.is_lost:
        return "ended"
    return "stopping" if session.worker.asked_to_stop else "working"
