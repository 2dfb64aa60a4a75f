"""Runs that are enqueued in a transaction of the user, on a queue in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tako_lite.client import AsyncClient, Client, transactional
from tako_lite.errors import NotFound
from tako_lite.records import new_id
from tests.support.backends import PostgresBackend
from tests.support.postgres import Database
from tests.support.project import Project

pytestmark = pytest.mark.postgres

WORKFLOWS = """
    from tako_lite import workflow

    @workflow("order")
    def order(payload):
        return payload

    @workflow("limited", limit=1)
    def limited(payload):
        return payload

    @workflow("by-tier", worker="{tier}")
    def by_tier(payload):
        return payload

    @workflow("report", on_dead="by-tier")
    def report(payload):
        return payload["run_id"]
"""
TENANTS = """
    [workflows.gold]
    allowed_tenants = ["acme"]

    [tenants.acme]
    [tenants.other]
"""


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project without a daemon, whose database has a table of orders as well."""
    project = Project(tmp_path, PostgresBackend(database))
    project.configure(TENANTS)
    project.workflow("shop.py", WORKFLOWS)
    with project.client() as client:
        client.cancel(new_id())  # makes the schema
    database.execute("CREATE TABLE IF NOT EXISTS orders (name text PRIMARY KEY)")
    transactional._notified.clear()
    yield project
    database.execute("DROP TABLE orders")
    project.backend.forget(tmp_path)


@pytest.fixture
def client(shop: Project) -> Iterator[Client]:
    with Client(shop.root) as client:
        yield client


@pytest.fixture
def connection(database: Database, shop: Project) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the user, in a transaction with an order of its own."""
    with closing(psycopg.connect(database.url)) as connection:
        connection.execute("INSERT INTO orders VALUES ('mine')")
        yield connection


def orders(database: Database) -> list[Any]:
    return [name for (name,) in database.execute("SELECT name FROM orders")]


def row(shop: Project, id: str) -> dict[str, Any]:
    assert isinstance(shop.backend, PostgresBackend)
    (found,) = shop.backend.execute(shop.root, f"SELECT row_to_json(runs) FROM runs WHERE id = '{id}'")
    return dict(found[0])


def test_a_run_commits_with_the_users_own_rows(client: Client, connection: psycopg.Connection[Any], database: Database) -> None:
    made = client.enqueue("order", {"name": "mine"}, connection=connection)
    assert (made.state, made.group, made.deduplicated, made.warning) == ("pending", "default", False, None)
    with pytest.raises(NotFound):
        client.get(made.id)
    connection.commit()
    assert (client.get(made.id)["payload"], orders(database)) == ({"name": "mine"}, ["mine"])


def test_a_rolled_back_transaction_leaves_neither_run_nor_row(
    client: Client, connection: psycopg.Connection[Any], database: Database
) -> None:
    made = client.enqueue("order", 1, connection=connection)
    ids = client.enqueue_many("order", [1, 2], connection=connection)
    connection.rollback()
    for id in (made.id, *ids):
        with pytest.raises(NotFound):
            client.get(id)
    assert orders(database) == []


def test_an_async_connection_enqueues_in_its_transaction(shop: Project, database: Database) -> None:
    async def use() -> tuple[str, str]:
        async with AsyncClient(shop.root) as client, await psycopg.AsyncConnection.connect(database.url) as connection:
            kept = await client.enqueue("order", 1, connection=connection)
            await connection.commit()
            dropped = await client.enqueue("order", 2, connection=connection)
            await connection.rollback()
            return kept.id, dropped.id

    kept, dropped = asyncio.run(use())
    assert client_states(shop, kept, dropped) == ["pending", None]


def client_states(shop: Project, *ids: str) -> list[str | None]:
    with Client(shop.root) as client:
        states = {run["id"]: run["state"] for run in client.runs()}
    return [states.get(id) for id in ids]


def test_the_row_is_that_of_an_enqueue_without_a_connection(
    shop: Project, client: Client, connection: psycopg.Connection[Any]
) -> None:
    for workflow, options in (
        ("order", {}),
        ("order", {"priority": 5, "retries": 7, "tenant": "acme", "fallback": "fail", "unique_key": "k-{}"}),
        ("limited", {"trace": f"00-{'a' * 32}-{'b' * 16}-01"}),
        ("order", {"at": "2030-01-01T00:00:00Z"}),
    ):
        one, other = (
            {**options, "unique_key": options["unique_key"].format(n)} if "unique_key" in options else options for n in "ab"
        )
        inside = client.enqueue(workflow, {"a": [1, "ü\\u0000"]}, connection=connection, **one)  # type: ignore[arg-type]
        connection.commit()
        outside = client.enqueue(workflow, {"a": [1, "ü\\u0000"]}, **other)  # type: ignore[arg-type]
        assert comparable(row(shop, inside.id)) == comparable(row(shop, outside.id))


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    is_now = found["run_at"] < 1_890_000_000_000
    ignored = {"id", "created_at", "finished_at", "unique_key"} | ({"run_at", "due_order"} if is_now else set())
    head_start = found["run_at"] - found["due_order"]
    return {**{name: value for name, value in found.items() if name not in ignored}, "head_start": head_start}
