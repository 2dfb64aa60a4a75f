"""All series of a scrape. docs/monitoring.md lists them; a test compares the two."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tako_lite.daemon.monitor.catalogue import family
from tako_lite.daemon.monitor.exposition import Family, Sample
from tako_lite.daemon.monitor.group_series import group_families, log_families
from tako_lite.daemon.monitor.run_series import queue_families, run_families
from tako_lite.daemon.monitor.source import CachedCounts, Source
from tako_lite.daemon.monitor.system_series import (
    control_families,
    process_families,
    schedule_families,
    state_families,
    store_families,
)
from tako_lite.errors import TakoError


class Scrape:
    """Reads the families of a daemon; the counts of the queue are cached between scrapes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._counts = CachedCounts(source.store)

    async def families(self) -> list[Family]:
        """All families with their samples. Those of the queue are missing while it cannot be read."""
        began = time.perf_counter()
        source = self._source
        await asyncio.sleep(0)
        lag = time.perf_counter() - began
        queue: list[Family] = []
        with suppress(TakoError):  # tako_ready and tako_store_errors_total show it
            queue = queue_families(source, await self._counts.get())
        found = [
            *state_families(source),
            *run_families(source),
            *queue,
            *group_families(source),
            *schedule_families(source),
            *store_families(source),
            *control_families(source),
            *log_families(source),
            *process_families(lag),
        ]
        taken = Sample({}, round(time.perf_counter() - began, 6))
        return [*found, family("tako_scrape_seconds", [taken])]
