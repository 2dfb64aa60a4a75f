"""The snapshot that `status` shows."""

from __future__ import annotations

from typing import Any

from tako_lite.clock import iso
from tako_lite.config import Config
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.meter import Meter
from tako_lite.processes.worker import Worker
from tako_lite.store.base import NO_COUNTS, GroupCounts, Store


async def snapshot(
    store: Store,
    dispatcher: Dispatcher,
    meter: Meter,
    names: set[str],
    config: Config,
    daemon: dict[str, Any],
    warnings: list[str],
    now: int,
) -> dict[str, Any]:
    """Every group with its workers and the counts of its runs."""
    from_memory = meter.knows_last_minute
    counts = await store.count_by_group(ended=not from_memory)
    if from_memory:
        for name in {*counts, *meter.groups}:
            done, failed = meter.last_minute(name)
            counts[name] = counts.get(name, NO_COUNTS)._replace(done_a_minute=done, failed_a_minute=failed)
    shown = sorted(names | {name for name, count in counts.items() if count.live})
    groups = [_group(name, dispatcher, config, counts.get(name, NO_COUNTS), now) for name in shown]
    return {"daemon": daemon, "groups": groups, "warnings": warnings, "queue": await store.get_stats()}


def _group(name: str, dispatcher: Dispatcher, config: Config, counts: GroupCounts, now: int) -> dict[str, Any]:
    group = dispatcher.groups.get(name)
    workers = [_worker(dispatcher, worker) for worker in (group.workers if group is not None else ())]
    settings = config.group(name)
    pool = {
        "name": name,
        "state": "zero",
        "min_workers": settings.workers,
        "max_workers": settings.max_workers,
        "concurrency": settings.concurrency,
        "last_error": None,
    }
    return {
        **(pool if group is None else group.as_json()),
        "servers": [config.server],
        "workers": workers,
        "busy": sum(len(worker["running"]) for worker in workers),
        **counts.as_json(now),
    }


def _worker(dispatcher: Dispatcher, worker: Worker) -> dict[str, Any]:
    session = dispatcher.sessions.get(worker)
    return {
        "pid": worker.pid,
        "state": worker.state,
        "running": list(session.assignments) if session is not None else [],
        "rss_bytes": worker.child.resident_bytes if worker.child is not None else None,
        "cpu_s": worker.child.cpu_seconds if worker.child is not None else None,
        "started_at": iso(worker.started_at),
        "starting_s": round(worker.ready_at - worker.spawned_at, 3) if worker.ready_at else None,
        "slots": worker.slots,
        "solo": worker.solo,
        "runs_done": worker.runs_done,
    }
