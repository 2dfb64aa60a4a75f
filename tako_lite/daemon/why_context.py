"""What `why` is told of a run's surroundings: its group, its worker and its children."""

from __future__ import annotations

import asyncio
from typing import Literal

from tako_lite.daemon.dispatcher import Dispatcher, Post
from tako_lite.daemon.limits import crowd_before
from tako_lite.processes.group import Group
from tako_lite.records import Run
from tako_lite.store.base import Store
from tako_lite.why import WhyContext


async def circumstances(run: Run, store: Store, dispatcher: Dispatcher, now: int, *, is_stopping: bool) -> WhyContext:
    """What is around a run at this moment."""
    ahead = await store.count_runs_ahead(run) if run.state == "pending" else 0
    children = [await store.get_run(wait.key) for wait in run.waits if wait.kind == "child" and wait.key]
    group, post, trouble = dispatcher.groups.get(run.group), dispatcher.find(run.id), store.trouble
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
        pid=post.worker.pid if post else None,
        worker=_condition(post),
        children={child.id: child for child in children if child},
    )


def _next_try(group: Group | None) -> float | None:
    at = group.next_try_at if group is not None else None
    return None if at is None else max(0.0, at - asyncio.get_running_loop().time())


def _condition(post: Post | None) -> Literal["working", "stopping", "ended"]:
    if post is None:
        return "working"
    if post.worker.is_dead:
        return "ended"
    return "stopping" if post.worker.asked_to_stop else "working"
