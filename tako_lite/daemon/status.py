"""The snapshot that `status` shows."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from tako_lite.clock import iso
from tako_lite.config import Config
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.meter import Meter
from tako_lite.processes.worker import Worker
from tako_lite.store.base import NO_COUNTS, GroupCounts, Store

MANY: Final = 200_000
"""Due runs from which on a count of them is reused: it takes about 0.1 s for each million, on the thread that reads for all."""
REUSED: Final = 5.0
"""Seconds for which it is reused."""


class CountsByGroup:
    """Counts the runs of each group. With very many due runs, the counts may be some seconds old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[str, GroupCounts] = {}
        self._good_until = 0.0
        self._counting = asyncio.Lock()

    async def get(self, *, ended: bool) -> dict[str, GroupCounts]:
        """The counts, as `Store.count_by_group` has them. Raises what reading the queue raises."""
        async with self._counting:
            if time.monotonic() >= self._good_until:
                self._counts = await self._store.count_by_group(ended=ended)
                if sum(count.due for count in self._counts.values()) >= MANY:
                    self._good_until = time.monotonic() + REUSED
            return dict(self._counts)


async def snapshot(
    store: Store,
    counted: CountsByGroup,
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
    counts = await counted.get(ended=not from_memory)
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
