"""Clients whose connection to the database is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tako_lite.client import Client
from tako_lite.errors import StoreUnreachable
from tako_lite.records import new_id
from tests.faults.postgres.wire import Wire
from tests.support.order_shop import Shop, open_shop
from tests.support.postgres import Database


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(database, tmp_path) as shop:
        yield shop


def name_of(database: Database) -> str:
    ((name,),) = database.execute("SELECT current_database()")
    return str(name)


def test_an_enqueue_whose_answer_is_lost_is_unknown_and_its_id_makes_no_second_run(
    shop: Shop, database: Database, wire: Wire
) -> None:
    shop.configure(f'[queue]\nurl = "{wire.url(name_of(database))}"\nschema = "{shop.schema}"\n')
    id = new_id()
    with Client(shop.root) as client:
        wire.arm("unanswered", text=b"COMMIT", only="client")
        with pytest.raises(StoreUnreachable, match=f"it is unknown whether run {id} was stored") as caught:
            client.enqueue("order", 1, id=id)
        assert f"id={id}" in (caught.value.hint or "")
        assert not wire.disarm()
        again = client.enqueue("order", 2, id=id)
    assert again.deduplicated
    assert shop.row(id)["payload"] == "1"


def test_a_lost_commit_of_a_user_and_the_same_id_make_no_second_run(shop: Shop, database: Database, wire: Wire) -> None:
    id = new_id()
    with Client(shop.root) as client:
        connection = psycopg.connect(wire.url(name_of(database)), application_name="user")
        client.enqueue("order", 1, connection=connection, id=id)
        wire.arm("unanswered", text=b"COMMIT", only="user")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        with psycopg.connect(database.url) as connection:
            again = client.enqueue("order", 2, connection=connection, id=id)
    assert again.deduplicated
    assert shop.row(id)["payload"] == "1"
