"""Runs in transactions of the drivers and frameworks that applications use with PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("asyncpg")
pytest.importorskip("pg8000")
pytest.importorskip("psycopg2")
pytest.importorskip("psycopg")

import asyncpg
import pg8000.dbapi
import pg8000.native
import psycopg2
import psycopg2.extras
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tako_lite.client import AsyncClient, Client
from tako_lite.errors import StoreError
from tests.support.order_shop import Shop, open_shop
from tests.support.postgres import Database, connected
from tests.support.teardown import tear_down

INSERT = "INSERT INTO orders VALUES ('mine')"
Execute = Callable[[str], Any]


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(database, tmp_path) as shop:
        yield shop


class Opened:
    """A connection of a driver: the object for `connection=`, and what its users do with it."""

    def __init__(self, given: Any, execute: Execute, commit: Callable[[], Any], rollback: Callable[[], Any]) -> None:
        self.given = given
        self.execute = execute
        self.commit = commit
        self.rollback = rollback


# Blocking


@contextmanager
def by_psycopg2(url: str, **options: Any) -> Iterator[Opened]:
    connection = psycopg2.connect(url, **options)
    yield Opened(connection, connection.cursor().execute, connection.commit, connection.rollback)
    connection.close()


@contextmanager
def by_psycopg2_with_dicts(url: str) -> Iterator[Opened]:
    with by_psycopg2(url, cursor_factory=psycopg2.extras.RealDictCursor) as opened:
        yield opened


@contextmanager
def by_pg8000(url: str) -> Iterator[Opened]:
    connection = pg8000.dbapi.connect(**pg8000_arguments(url))
    yield Opened(connection, connection.cursor().execute, connection.commit, connection.rollback)
    connection.close()


def pg8000_arguments(url: str) -> dict[str, Any]:
    found = conninfo_to_dict(url)
    host = str(found.get("host", ""))
    place = (
        {"unix_sock": f"{host}/.s.PGSQL.5432"} if host.startswith("/") else {"host": host, "port": int(found.get("port", 5432))}
    )
    return {"user": found["user"], "database": found["dbname"], "password": found.get("password"), **place}


def alchemy_url(url: str, driver: str) -> URL:
    return make_url(url).set(drivername=f"postgresql+{driver}")


@contextmanager
def by_core(url: str, driver: str) -> Iterator[Opened]:
    engine = (
        create_engine("postgresql+pg8000://", connect_args=pg8000_arguments(url))
        if driver == "pg8000"
        else create_engine(alchemy_url(url, driver))
    )
    with engine.connect() as connection:
        yield Opened(connection, lambda sql: connection.execute(text(sql)), connection.commit, connection.rollback)
    engine.dispose()


@contextmanager
def by_raw_connection_of_a_pool(url: str) -> Iterator[Opened]:
    engine = create_engine(alchemy_url(url, "psycopg"))
    connection = engine.raw_connection()
    yield Opened(connection, connection.cursor().execute, connection.commit, connection.rollback)
    connection.close()
    engine.dispose()


@contextmanager
def by_session(url: str) -> Iterator[Opened]:
    engine = create_engine(alchemy_url(url, "psycopg"))
    with Session(engine) as session:
        yield Opened(session, lambda sql: session.execute(text(sql)), session.commit, session.rollback)
    engine.dispose()


@contextmanager
def by_scoped_session(url: str) -> Iterator[Opened]:
    engine = create_engine(alchemy_url(url, "psycopg2"))
    session = scoped_session(sessionmaker(engine))
    yield Opened(session, lambda sql: session.execute(text(sql)), session.commit, session.rollback)
    session.remove()
    engine.dispose()


BLOCKING: dict[str, Callable[[str], AbstractContextManager[Opened]]] = {
    "psycopg2": by_psycopg2,
    "psycopg2 with dicts": by_psycopg2_with_dicts,
    "pg8000": by_pg8000,
    "SQLAlchemy's connection, psycopg": lambda url: by_core(url, "psycopg"),
    "SQLAlchemy's connection, psycopg2": lambda url: by_core(url, "psycopg2"),
    "SQLAlchemy's connection, pg8000": lambda url: by_core(url, "pg8000"),
    "the connection of a pool": by_raw_connection_of_a_pool,
    "a session": by_session,
    "a scoped session": by_scoped_session,
}


@pytest.mark.parametrize("kind", BLOCKING)
def test_a_blocking_connection_stores_runs_with_its_transaction(kind: str, shop: Shop, database: Database) -> None:
    with Client(shop.root) as client, BLOCKING[kind](database.url) as opened:
        opened.execute(INSERT)
        dropped = client.enqueue("order", 1, connection=opened.given).id
        opened.rollback()
        assert (shop.states(dropped), shop.orders()) == ([None], [])

        opened.execute(INSERT)
        kept = client.enqueue("order", {"ü": "100 % :x $1 ?"}, connection=opened.given, unique_key="k")
        same = client.enqueue("order", 2, connection=opened.given, unique_key="k")
        ids = client.enqueue_many("order", [1, 2], connection=opened.given, delay=60)
        assert shop.states(kept.id, *ids) == [None] * 3
        opened.commit()
        assert (shop.states(kept.id, *ids), shop.orders()) == (["pending"] * 3, ["mine"])
        assert (same.id, same.deduplicated, kept.deduplicated) == (kept.id, True, False)
        assert client.get(kept.id)["payload"] == {"ü": "100 % :x $1 ?"}


@pytest.mark.parametrize("kind", BLOCKING)
def test_an_aborted_transaction_raises_the_error_of_the_driver(kind: str, shop: Shop, database: Database) -> None:
    with Client(shop.root) as client, BLOCKING[kind](database.url) as opened:
        with pytest.raises(Exception) as first:  # each driver has its own
            opened.execute("SELECT 1 / 0")
        with pytest.raises(Exception) as second:
            client.enqueue("order", 1, connection=opened.given)
        assert type(second.value).__module__.split(".")[0] == type(first.value).__module__.split(".")[0]
        assert "transaction is aborted" in str(second.value)
        opened.rollback()


@pytest.mark.parametrize("kind", BLOCKING)
def test_a_database_without_the_queue_is_explained(kind: str, shop: Shop, database: Database) -> None:
    shop.configure('[queue]\nurl = "postgresql:///other"\nschema = "tako_missing"\n')
    with Client(shop.root) as client, BLOCKING[kind](database.url) as opened:
        with pytest.raises(StoreError, match="has no queue in the schema tako_missing") as caught:
            client.enqueue("order", 1, connection=opened.given)
        assert "tako-lite migrate" in (caught.value.hint or "")
        opened.rollback()


# Async


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Opened]:
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN")

    async def end(word: str) -> None:
        await connection.execute(f"{word}; BEGIN")

    yield Opened(connection, connection.execute, lambda: end("COMMIT"), lambda: end("ROLLBACK"))
    await connection.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[Opened]:
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as connection:
        await connection.execute("BEGIN")

        async def end(word: str) -> None:
            await connection.execute(f"{word}; BEGIN")

        yield Opened(connection, connection.execute, lambda: end("COMMIT"), lambda: end("ROLLBACK"))
        await connection.execute("ROLLBACK")


@asynccontextmanager
async def by_async_core(url: str, driver: str) -> AsyncIterator[Opened]:
    engine = create_async_engine(alchemy_url(url, driver))
    async with engine.connect() as connection:
        yield Opened(connection, lambda sql: connection.execute(text(sql)), connection.commit, connection.rollback)
    await engine.dispose()


@asynccontextmanager
async def by_async_session(url: str, driver: str) -> AsyncIterator[Opened]:
    engine = create_async_engine(alchemy_url(url, driver))
    async with AsyncSession(engine) as session:
        yield Opened(session, lambda sql: session.execute(text(sql)), session.commit, session.rollback)
    await engine.dispose()


ASYNC: dict[str, Callable[[str], AbstractAsyncContextManager[Opened]]] = {
    "asyncpg": by_asyncpg,
    "the pool of asyncpg": by_asyncpg_pool,
    "SQLAlchemy's connection, asyncpg": lambda url: by_async_core(url, "asyncpg"),
    "SQLAlchemy's connection, psycopg": lambda url: by_async_core(url, "psycopg"),
    "a session, asyncpg": lambda url: by_async_session(url, "asyncpg"),
    "a session, psycopg": lambda url: by_async_session(url, "psycopg"),
}


@pytest.mark.parametrize("kind", ASYNC)
def test_an_async_connection_stores_runs_with_its_transaction(kind: str, shop: Shop, database: Database) -> None:
    async def use() -> None:
        async with AsyncClient(shop.root) as client, ASYNC[kind](database.url) as opened:
            await opened.execute(INSERT)
            dropped = (await client.enqueue("order", 1, connection=opened.given)).id
            await opened.rollback()
            assert (shop.states(dropped), shop.orders()) == ([None], [])

            await opened.execute(INSERT)
            kept = await client.enqueue("order", {"ü": "100 % :x $1 ?"}, connection=opened.given, unique_key="k")
            same = await client.enqueue("order", 2, connection=opened.given, unique_key="k")
            ids = await client.enqueue_many("order", [1, 2], connection=opened.given, delay=60)
            assert shop.states(kept.id, *ids) == [None] * 3
            await opened.commit()
            assert (shop.states(kept.id, *ids), shop.orders()) == (["pending"] * 3, ["mine"])
            assert (same.id, same.deduplicated, kept.deduplicated) == (kept.id, True, False)

    asyncio.run(use())


# Django

DJANGO = """
import json, sys
import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

url, root = sys.argv[1:]
found = conninfo_to_dict(url)
database = {"ENGINE": "django.db.backends.postgresql", "NAME": found["dbname"], "USER": found["user"], "HOST": found["host"]}
settings.configure(DATABASES={"default": database, "file": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()

from django.db import connection, connections, transaction
from tako_lite.client import Client
from tako_lite.errors import BadInput

ids = []
with Client(root) as client:
    def enqueue(**options):
        return client.enqueue("order", 1, connection=connection, **options).id

    with transaction.atomic():
        connection.cursor().execute("INSERT INTO orders VALUES ('mine')")
        ids.append(enqueue())
    try:
        with transaction.atomic():
            ids.append(enqueue())
            raise ValueError
    except ValueError:
        pass
    with transaction.atomic():
        ids.append(enqueue())
        try:
            with transaction.atomic():
                ids.append(enqueue())
                raise ValueError
        except ValueError:
            pass
    ids.append(enqueue())
    try:
        client.enqueue("order", 1, connection=connections["file"])
    except BadInput as error:
        print(json.dumps([ids, error.message]))
"""


def test_djangos_connection_stores_runs_with_its_atomic_blocks(shop: Shop, database: Database) -> None:
    pytest.importorskip("django")
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, database.url, str(shop.root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ids, refused = json.loads(done.stdout)
    assert shop.states(*ids) == ["pending", None, "pending", None, "pending"]
    assert shop.orders() == ["mine"]
    assert refused == "connection is a connection of Django to sqlite, and the queue is in PostgreSQL"


# Statements


def test_a_statement_works_with_the_drivers_that_the_docs_name(shop: Shop, database: Database) -> None:
    with Client(shop.root) as client:
        payload = {"ü": "100 % :x $1 ?", "nothing": None}
        ids = []
        with closing(pg8000.native.Connection(**pg8000_arguments(database.url))) as native:
            sql, parameters = client.statement("order", payload, style="named")
            ids.append(native.run(sql, **parameters)[0][0])
        engine = create_engine(alchemy_url(database.url, "psycopg2"))
        with engine.begin() as connection:
            sql, parameters = client.statement("order", payload, style="named")
            ids.append(connection.execute(text(sql), parameters).one().id)
        engine.dispose()

        async def by_number() -> str:
            connection = await asyncpg.connect(database.url)
            sql, parameters = client.statement("order", payload, style="numeric")
            found = await connection.fetchrow(sql, *parameters)
            await connection.close()
            return str(found["id"])

        ids.append(asyncio.run(by_number()))
        assert [client.get(id)["payload"] for id in ids] == [payload] * 3


WITHOUT_PSYCOPG = """
import sys
sys.modules["psycopg"] = None
import psycopg2
from tako_lite.client import Client

with psycopg2.connect(sys.argv[1]) as connection, Client(sys.argv[2]) as client:
    print(client.enqueue("order", 1, connection=connection).id)
"""


def test_a_transaction_of_another_driver_needs_no_psycopg(shop: Shop, database: Database) -> None:
    command = [sys.executable, "-c", WITHOUT_PSYCOPG, database.url, str(shop.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shop.states(done.stdout.strip()) == ["pending"]


# After the commit


def test_a_commit_wakes_the_daemon_of_this_machine_without_a_notification(shop: Shop, database: Database) -> None:
    shop.serve()
    engine = create_engine(alchemy_url(database.url, "psycopg"))
    with connected(database.url) as listener, Client(shop.root) as client, Session(engine) as session:
        listener.execute(f"LISTEN tako_{shop.schema}")
        id = client.enqueue("order", 1, connection=session).id
        with suppress(ValueError), session.begin_nested():
            dropped = client.enqueue("order", 2, connection=session).id
            raise ValueError
        session.commit()
        assert client.wait(id, 15)["state"] == "succeeded"
        later = client.enqueue("order", 3, connection=session).id
        session.commit()
        assert client.wait(later, 15)["state"] == "succeeded"
        notes = [json.loads(note.payload) for note in listener.notifies(timeout=0.1)]
        assert [note for note in notes if "note" not in note] == []
        assert shop.states(dropped) == [None]
    engine.dispose()

    async def use() -> str:
        engine = create_async_engine(alchemy_url(database.url, "psycopg"))
        async with AsyncClient(shop.root) as client, AsyncSession(engine) as session:
            id = (await client.enqueue("order", 4, connection=session)).id
            await session.commit()
            state = (await client.wait(id, 15))["state"]
        await engine.dispose()
        return str(state)

    assert asyncio.run(use()) == "succeeded"
    tear_down(shop)
