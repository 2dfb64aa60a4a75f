"""The start of servers: who makes the schema, who may not, and what is left alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tako_lite.errors import StoreError, StoreTooNew, StoreUnreachable, TakoError, WrongProject
from tako_lite.records import new_id
from tako_lite.store.base import Store
from tako_lite.store.opening import queue_at
from tests.faults.postgres.pooler import pooler
from tests.faults.postgres.wire import Wire
from tests.support.postgres import Database, Server, connected
from tests.support.profiles import scaled
from tests.support.store_bench import Bench, HandClock

pytestmark = pytest.mark.anyio

Opener = Callable[..., Store]


@pytest.fixture
def opened(schema: str, tmp_path: Path) -> Opener:
    """A store on the schema of the test, by a URL; not started yet."""

    def make(url: str, name: str = "lax") -> Store:
        return queue_at(url, tmp_path, schema=schema).open("process", HandClock(), name, new_id(), lambda effects: None)

    return make


@asynccontextmanager
async def started(*stores: Store) -> AsyncIterator[None]:
    """Stores that are started at once."""
    async with AsyncExitStack() as stack:
        for store in stores:
            stack.push_async_callback(store.stop)
        await asyncio.gather(*(store.start() for store in stores))
        yield


def tables(database: Database, schema: str) -> list[str]:
    found = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", schema)
    return [name for (name,) in found]


@pytest.mark.full
async def test_servers_that_start_at_once_on_an_empty_database_migrate_it_once(
    database: Database, schema: str, opened: Opener
) -> None:
    for _ in range(scaled(5, 100)):
        stores = [opened(database.url, f"server-{number}") for number in range(4)]
        async with started(*stores):
            assert database.execute("SELECT count(*) FROM meta", schema=schema) == [(1,)]
            assert [await store.count_queued_by_workflow() for store in stores] == [{}] * 4
        database.drop_schema(schema)


async def test_a_server_that_loses_its_connection_in_the_migration_leaves_the_old_schema_or_the_new(
    database: Database, schema: str, opened: Opener, wire: Wire
) -> None:
    whole: list[str] = []
    for number in range(1, 60):
        wire.arm("cut", number)
        store = opened(wire.url(database.name))
        with suppress(StoreUnreachable):
            async with started(store):
                whole = tables(database, schema)
        assert tables(database, schema) in ([], whole) or not whole
        if wire.disarm():
            break
        database.drop_schema(schema)
    else:
        raise AssertionError("it sends more messages than this")
    assert number > 3, "no message was lost"
    async with started(opened(database.url)):
        assert tables(database, schema) == whole


async def test_a_schema_of_a_newer_release_is_refused_unless_that_says_that_this_one_may_write(
    database: Database, schema: str, opened: Opener
) -> None:
    async with started(opened(database.url)):
        pass
    database.execute("UPDATE meta SET schema_version = 999, oldest_program = 999", schema=schema)
    with pytest.raises(StoreTooNew, match="schema 999"):
        async with started(opened(database.url)):
            pass
    database.execute("UPDATE meta SET oldest_program = 1", schema=schema)
    async with started(opened(database.url)):
        assert database.execute("SELECT schema_version FROM meta", schema=schema) == [(999,)]


async def test_a_schema_of_another_program_is_refused_and_left_alone(database: Database, schema: str, opened: Opener) -> None:
    database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.runs (mine text); INSERT INTO {schema}.runs VALUES ('x')")
    with pytest.raises(TakoError):
        async with started(opened(database.url)):
            pass
    assert tables(database, schema) == ["runs"]
    assert database.execute("SELECT mine FROM runs", schema=schema) == [("x",)]


async def test_the_queue_of_another_project_is_refused(database: Database, schema: str, tmp_path: Path) -> None:
    def store(project: str) -> Store:
        queue = queue_at(database.url, tmp_path, schema=schema, project=project)
        return queue.open("process", HandClock(), "lax", new_id(), lambda effects: None)

    async with started(store("shop")):
        pass
    with pytest.raises(WrongProject, match="shop"):
        async with started(store("blog")):
            pass
    async with started(store("shop")):
        pass


@pytest.fixture
def stranger(postgres: Server, database: Database) -> Iterator[str]:
    """The URL of the database for a role without any right in it."""
    role = f"stranger_{secrets.token_hex(4)}"
    database.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    yield database.url.replace("tako@", f"{role}@")
    database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_role_without_rights_gets_the_command_that_grants_them(
    database: Database, opened: Opener, stranger: str
) -> None:
    for _ in range(2):  # without a schema, and with that of its owner
        with pytest.raises(StoreError) as refused:
            async with started(opened(stranger)):
                pass
        assert "permission denied" in refused.value.message
        assert "tako-lite migrate --sql" in (refused.value.hint or "")
        async with started(opened(database.url)):
            pass


async def test_too_many_connections_are_named(database: Database, opened: Opener, stranger: str) -> None:
    with connected(stranger), connected(stranger), pytest.raises(StoreUnreachable, match="too many connections"):
        async with started(opened(stranger)):
            pass


async def test_behind_a_pooler_a_store_works_and_none_of_its_settings_reaches_another_client(
    postgres: Server, database: Database, schema: str, tmp_path: Path
) -> None:
    names = ["search_path", "lock_timeout", "statement_timeout", "enable_seqscan", "plan_cache_mode", "jit"]
    asked = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s) ORDER BY name"
    with pooler(postgres, database.name, backends=1) as url:
        queue = queue_at(url, tmp_path, schema=schema)
        clock = HandClock()
        store = queue.open("process", clock, "lax", new_id(), lambda effects: None)
        bench = Bench(store, clock, [], queue)
        async with started(store):
            for _ in range(20):
                await bench.complete(await bench.running())
            assert await store.count_queued_by_workflow() == {}
            with connected(postgres.url(database.name)) as direct:
                direct.execute("RESET search_path")
                expected = direct.execute(asked, (names,)).fetchall()
            with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
                found = other.execute(asked, (names,)).fetchall()
    assert [row for row in found if row[0] != "search_path"] == [row for row in expected if row[0] != "search_path"]
    assert schema not in dict(found)["search_path"]
