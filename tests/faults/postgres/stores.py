"""Several stores on one queue, as the servers of one project have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tako_lite.records import new_id
from tako_lite.store.base import Effects
from tako_lite.store.opening import Durability, queue_at
from tests.support.backends import PostgresBackend
from tests.support.store_bench import Bench, HandClock


@asynccontextmanager
async def stores(
    backend: PostgresBackend, folder: Path, *urls: str, durability: Durability = "process"
) -> AsyncIterator[Sequence[Bench]]:
    """Started stores on the queue of a folder, one for each URL, with one clock. The queue is deleted afterwards."""
    clock = HandClock()
    async with AsyncExitStack() as stack:
        stack.callback(backend.forget, folder)
        benches = []
        for number, url in enumerate(urls):
            told: list[Effects] = []
            queue = queue_at(url, folder, schema=backend.schema(folder))
            store = queue.open(durability, clock, f"server-{number}", new_id(), told.append)
            await store.start()
            stack.push_async_callback(store.stop)
            benches.append(Bench(store, clock, told, queue))
        yield benches
