"""The fixtures of tests on PostgreSQL: a server of the run, a database of each process of the tests, a schema of each test."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator

import pytest

from tests.support.postgres import Cluster, Database, Server, missing, new_cluster, remove, shared_server


def require_postgres() -> None:
    """Skip the test where PostgreSQL is missing, or fail it with `TAKO_TEST_POSTGRES=required`."""
    _refuse(missing())


def require_pooler() -> None:
    """The same for PgBouncer."""
    _refuse(None if shutil.which("pgbouncer") else "there is no pgbouncer: apt install pgbouncer")


def _refuse(reason: str | None) -> None:
    if reason:
        if os.environ.get("TAKO_TEST_POSTGRES") == "required":
            pytest.fail(f"TAKO_TEST_POSTGRES=required, but {reason}", pytrace=False)
        pytest.skip(f"no test runs on PostgreSQL: {reason}")


@pytest.fixture(scope="session")
def postgres() -> Server:
    """The PostgreSQL server that all tests of the run share. It does not survive a power failure."""
    require_postgres()
    return shared_server()


@pytest.fixture(scope="session")
def database(postgres: Server) -> Iterator[Database]:
    """A database of this process of the tests."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{secrets.token_hex(4)}"
    yield postgres.make_database(name)
    if "TAKO_TEST_DSN" in os.environ:  # the server of the run goes as a whole
        postgres.drop_database(name)


@pytest.fixture
def schema(database: Database) -> Iterator[str]:
    """The name of a schema that no other test has; it is made by whoever opens the queue."""
    name = f"tako_{secrets.token_hex(4)}"
    yield name
    database.drop_schema(name)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A running server of the test's own, which it may restart, crash and promote. It survives power failures."""
    require_postgres()
    made = new_cluster()
    made.create()
    made.start()
    yield made
    remove(made.folder)
