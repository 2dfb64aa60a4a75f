"""A daemon starts what transactions of users have stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tako_lite.client import Client
from tests.support.fixtures import served
from tests.support.order_shop import Shop, open_shop
from tests.support.postgres import Database
from tests.support.project import wait_until

pytestmark = pytest.mark.postgres

WORKFLOWS = """
    import psycopg

    from tako_lite import workflow

    URL = "{url}"

    @workflow("small")
    def small(payload):
        return payload

    @workflow("waits")
    async def waits(payload, step):
        return await step.wait_for(payload)

    @workflow("inside")
    def inside(payload):
        with psycopg.connect(URL) as connection:
            return small.enqueue(payload, connection=connection).id

    @workflow("inside-async")
    async def inside_async(payload):
        async with await psycopg.AsyncConnection.connect(URL) as connection:
            made = await small.aenqueue(payload, connection=connection)
        return made.id
"""


@pytest.fixture(scope="module")
def shop(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(database, tmp_path_factory.mktemp("served")) as shop:
        shop.workflow("more.py", WORKFLOWS.replace("{url}", database.url))
        shop.serve()
        yield from served(shop)  # type: ignore[misc]


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    with Client(shop.root) as client:
        yield client


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(database.url)) as connection:
        yield connection


def test_committed_runs_start(shop: Shop, client: Client, connection: psycopg.Connection[Any]) -> None:
    ids = [
        client.enqueue("order", 1, connection=connection).id,
        client.enqueue("order", 1, connection=connection, delay=0.5).id,
        *client.enqueue_many("limited", [1, 2, 3], connection=connection),
    ]
    connection.commit()
    assert [client.wait(id, 15)["state"] for id in ids] == ["succeeded"] * 5


def test_a_committed_signal_ends_the_waits_for_it(shop: Shop, client: Client, connection: psycopg.Connection[Any]) -> None:
    id = client.enqueue("waits", "go").id
    shop.wait_for_state(id, "waiting")
    assert client.signal("go", {"by": "me"}, connection=connection) == 0
    connection.commit()
    assert client.wait(id, 15)["result"] == {"by": "me"}
    wait_until(
        lambda: shop.backend.execute(shop.root, "SELECT event FROM signals WHERE NOT delivered") == [], "it is delivered"
    )


@pytest.mark.parametrize("workflow", ["inside", "inside-async"])
def test_a_handler_enqueues_in_a_transaction_of_its_own(workflow: str, client: Client) -> None:
    outer = client.wait(client.enqueue(workflow, 5).id, 15)
    assert outer["state"] == "succeeded", outer["error"]
    assert client.wait(outer["result"], 15)["result"] == 5
