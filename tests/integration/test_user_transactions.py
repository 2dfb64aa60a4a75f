"""Runs that are enqueued in a transaction of the user, on a queue in PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import class_row, dict_row

from tako_lite.client import AsyncClient, Client, transactional
from tako_lite.errors import BadInput, NotFound, StoreError
from tako_lite.records import Enqueued, new_id
from tests.support.order_shop import Shop, open_shop
from tests.support.postgres import Database, connected
from tests.support.store_bench import HandClock

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(database, tmp_path) as shop:
        yield shop


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    with Client(shop.root) as client:
        yield client


@pytest.fixture
def connection(database: Database, shop: Shop) -> Iterator[Connection]:
    """A connection of the user, in a transaction with an order of its own."""
    with closing(psycopg.connect(database.url)) as connection:
        connection.execute("INSERT INTO orders VALUES ('mine')")
        yield connection


@pytest.fixture
def listener(database: Database, shop: Shop) -> Iterator[Connection]:
    """A connection that hears what the servers of the queue hear."""
    with connected(database.url) as connection:
        connection.execute(f"LISTEN tako_{shop.schema}")
        yield connection


def heard(listener: Connection) -> list[dict[str, Any]]:
    """What was notified until now. Our own notification comes after it."""
    listener.execute("SELECT pg_notify(channel, 'end') FROM pg_listening_channels() AS channel")
    found = []
    for note in listener.notifies(timeout=10):
        if note.payload == "end":
            return found
        found.append(json.loads(note.payload))
    raise AssertionError("our own notification was not heard")


# The transaction


def test_a_run_commits_with_the_users_own_rows(client: Client, connection: Connection, shop: Shop) -> None:
    made = client.enqueue("order", {"name": "mine"}, connection=connection)
    assert (made.state, made.group, made.deduplicated, made.warning) == ("pending", "default", False, None)
    assert shop.states(made.id) == [None]
    connection.commit()
    assert (client.get(made.id)["payload"], shop.orders()) == ({"name": "mine"}, ["mine"])


def test_a_rolled_back_transaction_leaves_neither_run_nor_row(client: Client, connection: Connection, shop: Shop) -> None:
    made = client.enqueue("order", 1, connection=connection)
    ids = client.enqueue_many("order", [1, 2], connection=connection)
    client.signal("arrived", connection=connection)
    connection.rollback()
    assert shop.states(made.id, *ids) == [None, None, None]
    assert shop.backend.execute(shop.root, "SELECT event FROM signals") == []
    assert shop.orders() == []


def test_a_rolled_back_savepoint_leaves_no_run(client: Client, connection: Connection, shop: Shop) -> None:
    kept = client.enqueue("order", 1, connection=connection)
    with connection.transaction(force_rollback=True):
        dropped = client.enqueue("order", 2, connection=connection)
    connection.commit()
    assert shop.states(kept.id, dropped.id) == ["pending", None]


def test_an_async_connection_enqueues_in_its_transaction(shop: Shop, database: Database) -> None:
    async def use() -> list[str]:
        async with AsyncClient(shop.root) as client, await psycopg.AsyncConnection.connect(database.url) as connection:
            kept = await client.enqueue("order", 1, connection=connection)
            many = await client.enqueue_many("order", [2], connection=connection)
            await client.signal("arrived", connection=connection)
            await connection.commit()
            dropped = await client.enqueue("order", 3, connection=connection)
            await connection.rollback()
            return [kept.id, *many, dropped.id]

    assert shop.states(*asyncio.run(use())) == ["pending", "pending", None]
    assert shop.backend.execute(shop.root, "SELECT event, delivered FROM signals") == [("arrived", False)]


def test_the_rows_that_a_connection_makes_otherwise_do_not_matter(client: Client, database: Database) -> None:
    for factory in (dict_row, class_row(Enqueued)):
        with psycopg.connect(database.url, row_factory=factory) as connection:  # type: ignore[arg-type]
            assert client.enqueue("order", 1, connection=connection).state == "pending"


def test_a_transaction_that_stays_open_holds_nobody_up(client: Client, connection: Connection, shop: Shop) -> None:
    client.enqueue("order", 1, connection=connection, unique_key="mine")
    shop.serve()
    assert shop.wait(shop.enqueue("order", 2))["state"] == "succeeded"
    connection.rollback()


# The row


@pytest.mark.parametrize(
    ("workflow", "options"),
    [
        ("order", {}),
        ("order", {"priority": 5, "retries": 7, "tenant": "acme", "fallback": "fail", "unique_key": "key"}),
        ("limited", {"trace": f"00-{'a' * 32}-{'b' * 16}-01"}),
        ("order", {"at": "2030-01-01T00:00:00Z"}),
        ("by-tier", {"tenant": "other"}),
    ],
)
def test_the_row_is_that_of_an_enqueue_without_a_connection(
    workflow: str, options: dict[str, Any], shop: Shop, client: Client, connection: Connection
) -> None:
    payload = {"tier": "gold", "text": "ü\u0000 'quoted' %s :name $1"}
    inside = client.enqueue(workflow, payload, connection=connection, **options)
    connection.commit()
    found = comparable(shop.row(inside.id))
    shop.backend.execute(shop.root, "DELETE FROM runs RETURNING id")
    outside = client.enqueue(workflow, payload, **options)
    assert found == comparable(shop.row(outside.id))
    assert (inside.state, inside.group) == (outside.state, outside.group)


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs from one moment to the next."""
    moments = {name: row.pop(name) for name in ("run_at", "due_order", "created_at", "finished_at")}
    head_start, is_later = moments["run_at"] - moments["due_order"], moments["run_at"] > moments["created_at"] + 60_000
    return {**row, "id": None, "head_start": head_start, "at": moments["run_at"] if is_later else None}


def test_a_delay_is_counted_by_the_clock_of_the_database(shop: Shop, client: Client, connection: Connection) -> None:
    client._core._clock = HandClock()  # type: ignore[assignment]
    made = client.enqueue("order", 1, connection=connection, delay="1h")
    connection.commit()
    row = shop.row(made.id)
    ((now,),) = shop.backend.execute(shop.root, "SELECT extract(epoch FROM now())::float8 * 1000")
    assert row["run_at"] - row["created_at"] == 3_600_000
    assert abs(row["created_at"] - now) < 60_000
    assert not row["ready"]


def test_a_refused_run_is_stored_as_dead_with_the_runs_of_its_hooks(shop: Shop, client: Client, connection: Connection) -> None:
    made = client.enqueue("by-tier", {"tier": "gold"}, connection=connection, tenant="other")
    ids = client.enqueue_many("by-tier", [{"tier": "gold"}, {"tier": "nowhere"}, {}], connection=connection, tenant="other")
    connection.commit()
    assert (made.state, ids.refused) == ("dead", 2)
    assert "is for acme" in (made.warning or "")
    assert shop.states(made.id, *ids) == ["dead", "dead", "dead", "pending"]
    reports = {run["parent"]: client.get(run["id"])["payload"]["reason"] for run in client.runs(workflow="report")}
    assert reports == {made.id: "tenant_denied", ids[0]: "tenant_denied", ids[1]: "unknown_group"}


def test_what_the_files_refuse_leaves_the_transaction_as_it_was(client: Client, connection: Connection) -> None:
    with pytest.raises(NotFound, match="no workflow is named"):
        client.enqueue("oder", 1, connection=connection)
    with pytest.raises(BadInput, match="retries"):
        client.enqueue("order", 1, connection=connection, retries=-1)
    connection.execute("SELECT 1")


# Duplicates


def test_the_same_id_makes_no_second_run(client: Client, connection: Connection) -> None:
    id = new_id()
    made = [client.enqueue("order", n, connection=connection, id=id) for n in (1, 2)]
    connection.commit()
    again = client.enqueue("order", 3, connection=connection, id=id)
    assert [one.deduplicated for one in (*made, again)] == [False, True, True]
    assert client.get(id)["payload"] == 1


@pytest.mark.parametrize("commits", [True, False])
def test_a_unique_key_waits_for_the_transaction_that_has_it(
    commits: bool, shop: Shop, client: Client, connection: Connection, database: Database
) -> None:
    first = client.enqueue("order", 1, connection=connection, unique_key="key")
    second: list[Enqueued] = []

    def rival() -> None:
        with psycopg.connect(database.url) as other:
            second.append(client.enqueue("order", 2, connection=other, unique_key="key"))

    thread = threading.Thread(target=rival)
    thread.start()
    shop.wait_for_lock()
    (connection.commit if commits else connection.rollback)()
    thread.join()
    assert second[0].deduplicated == commits
    assert (second[0].id == first.id) == commits
    assert shop.states(second[0].id) == ["pending"]


# Errors and rights


def test_an_aborted_transaction_raises_the_drivers_error_unchanged(client: Client, connection: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        client.enqueue("order", 1, connection=connection)


def test_a_role_needs_no_more_than_the_documented_rights(
    shop: Shop, client: Client, connection: Connection, database: Database
) -> None:
    connection.rollback()
    role = f"app_{secrets.token_hex(4)}"
    database.execute(f"CREATE ROLE {role}")
    connection.execute(f"SET SESSION AUTHORIZATION {role}")
    connection.commit()
    with pytest.raises(StoreError, match="may not store runs") as caught:
        client.enqueue("order", 1, connection=connection)
    connection.rollback()
    for grant in (caught.value.hint or "").replace("TO role", f"TO {role}").split("; "):
        database.execute(grant)
    made = client.enqueue("order", 1, connection=connection, unique_key="key")
    again = client.enqueue("order", 1, connection=connection, unique_key="key")
    ids = client.enqueue_many("by-tier", [{"tier": "gold"}], connection=connection, tenant="other")
    client.signal("arrived", connection=connection)
    connection.commit()
    assert again.id == made.id
    assert shop.states(made.id, *ids) == ["pending", "dead"]
    connection.execute("RESET SESSION AUTHORIZATION")
    connection.execute(f"DROP OWNED BY {role}")
    connection.execute(f"DROP ROLE {role}")
    connection.commit()


def test_a_schema_that_does_not_exist_is_explained(shop: Shop, connection: Connection) -> None:
    shop.configure('[queue]\nurl = "postgresql:///other"\nschema = "tako_missing"\n')
    with Client(shop.root) as client, pytest.raises(StoreError, match="no queue in the schema tako_missing") as caught:
        client.enqueue("order", 1, connection=connection)
    assert "tako-lite migrate" in (caught.value.hint or "")


def test_a_connection_of_the_other_kind_is_refused(
    shop: Shop, client: Client, connection: Connection, database: Database
) -> None:
    async def use() -> None:
        async with AsyncClient(shop.root) as asynchronous:
            with pytest.raises(BadInput, match="connection is a blocking one, and this is an async call") as caught:
                await asynchronous.enqueue("order", 1, connection=connection)
            assert "handle.enqueue" in (caught.value.hint or "")
            async with await psycopg.AsyncConnection.connect(database.url) as other:
                with pytest.raises(BadInput, match="connection is an async one, and this is a blocking call"):
                    client.enqueue("order", 1, connection=other)

    asyncio.run(use())


# Statements


def test_a_statement_stores_a_run_with_any_style_of_parameters(shop: Shop, client: Client, connection: Connection) -> None:
    for style, cursor in (
        ("format", connection.cursor()),
        ("pyformat", connection.cursor()),
        ("numeric", psycopg.RawCursor(connection)),
    ):
        sql, parameters = client.statement("order", {"a": "100 %"}, style=style, unique_key=style)  # type: ignore[arg-type]
        cursor.execute(sql, parameters)  # type: ignore[call-overload]
        ((id, state, group, deduplicated),) = cursor.fetchall()
        connection.commit()
        assert (state, group, deduplicated) == ("pending", "default", False)
        assert shop.states(id) == ["pending"]


def test_each_parameter_of_a_statement_stands_in_it_once(client: Client) -> None:
    for style, marks in (("format", ["%s"] * 2), ("qmark", ["?"] * 2), ("numeric", ["$1", "$2"])):
        sql, parameters = client.statement("order", 1, style=style)  # type: ignore[arg-type]
        assert isinstance(parameters, tuple)
        assert [sql.count(mark) for mark in marks] == ([1, 1] if style == "numeric" else [2, 2])
    sql, parameters = client.statement("order", 1, style="named")
    assert isinstance(parameters, dict)
    assert [sql.count(f":{name}") for name in parameters] == [1, 1]
    with pytest.raises(BadInput, match="'numerical' is no style of parameters"):
        client.statement("order", 1, style="numerical")  # type: ignore[arg-type]


# Wake-ups


def test_the_servers_are_notified_with_the_commit_and_not_before(
    client: Client, connection: Connection, listener: Connection, shop: Shop
) -> None:
    client.enqueue("order", 1, connection=connection)
    assert heard(listener) == []
    connection.commit()
    assert heard(listener) == [{"work": ["default"]}]
    made = client.enqueue("by-tier", {"tier": "gold"}, connection=connection, tenant="acme", delay=60)
    client.signal("arrived", connection=connection)
    connection.commit()
    assert heard(listener) == [{"due": shop.row(made.id)["run_at"]}, {"signals": True}]


def test_nothing_is_notified_of_runs_that_were_not_stored(client: Client, connection: Connection, listener: Connection) -> None:
    client.enqueue("order", 1, connection=connection, unique_key="key", notify=False)
    connection.commit()
    client.enqueue("order", 1, connection=connection, unique_key="key")
    connection.commit()
    client.enqueue("by-tier", {"tier": "gold"}, connection=connection)
    connection.rollback()
    assert heard(listener) == []


def test_a_flood_of_transactions_sends_few_notifications_and_the_last_has_servers_look_again(
    client: Client, connection: Connection, listener: Connection
) -> None:
    clock = HandClock()
    client._core._clock = clock  # type: ignore[assignment]
    for _ in range(30):
        client.enqueue("order", 1, connection=connection)
        client.signal("arrived", connection=connection)
        connection.commit()
    told: list[dict[str, Any]] = [{"work": ["default"]}, {"signals": True}]
    assert heard(listener) == told * 19 + [{**each, "again": True} for each in told]
    transactional._notified.update({key: at - 0.15 for key, at in transactional._notified.items()})
    for _ in range(2):
        client.enqueue("order", 1, connection=connection)
        connection.commit()
    assert heard(listener) == [{"work": ["default"], "again": True}]
