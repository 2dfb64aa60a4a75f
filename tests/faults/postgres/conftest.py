"""The fixtures of the faults of PostgreSQL: everything here needs a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend
from tests.support.postgres import Database, Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.postgres)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_backend(database: Database) -> PostgresBackend:
    """Queues in the database of this process of the tests."""
    return PostgresBackend(database)


@pytest.fixture
def wire(postgres: Server) -> Iterator[Wire]:
    """A way to the server that a test may break."""
    with Wire(postgres) as made:
        yield made
