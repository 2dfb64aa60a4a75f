"""Every backend on a real file or server, opened for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tako_lite.store.base import Effects, Store
from tako_lite.store.sqlite.store import SqliteStore
from tests.support.store_bench import BOOT_ID, Bench, HandClock


def _sqlite(folder: Path, clock: HandClock, on_commit: Callable[[Effects], None]) -> Store:
    return SqliteStore(folder / "queue.db", "process", clock, "lax", BOOT_ID, on_commit)


BACKENDS = {"sqlite": _sqlite}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bench]:
    clock, told = HandClock(), list[Effects]()
    store = BACKENDS[request.param](tmp_path, clock, told.append)
    await store.start()
    yield Bench(store, clock, told)
    await store.stop()
