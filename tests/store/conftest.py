"""Every backend on a real file or server, opened for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tako_lite.store.base import Effects
from tests.support.backends import Backend, open_store
from tests.support.store_bench import Bench, HandClock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def bench(backend: Backend, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Bench]:
    clock, told = HandClock(), list[Effects]()
    queue = backend.queue(tmp_path)
    store = open_store(queue, clock, told.append)
    await store.start()
    yield Bench(store, clock, told, queue)
    await store.stop()
    backend.forget(tmp_path)
