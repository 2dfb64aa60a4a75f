"""What clients refuse as the connection of a user, without any database."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tako_lite.client import AsyncClient, Client
from tako_lite.client.user_connection import resolve, sqlstate_of
from tako_lite.errors import BadInput

WORKFLOW = "from tako_lite import workflow\n\n@workflow('order')\ndef order(payload: object) -> None: ...\n"
DATABASE = '[queue]\nurl = "postgresql://nobody@127.0.0.1:1/none"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "order.py").write_text(WORKFLOW)
    (tmp_path / "tako.toml").write_text(DATABASE)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with Client(folder) as client:
        yield client


def test_a_queue_file_takes_part_in_no_transaction(folder: Path) -> None:
    (folder / "tako.toml").write_text("")
    with Client(folder) as client:
        for call in (
            lambda: client.enqueue("order", 1, connection=object()),
            lambda: client.enqueue_many("order", [1], connection=object()),
            lambda: client.signal("event", connection=object()),
            lambda: client.statement("order", 1),
        ):
            with pytest.raises(
                BadInput, match="needs a queue in PostgreSQL, and the queue of this project is the file"
            ) as caught:
                call()
            assert "on_commit" in (caught.value.hint or "")


@pytest.mark.parametrize("given", [object(), "postgresql:///", SimpleNamespace(execute=print), sqlite3])
def test_what_is_no_connection_is_refused(given: Any, client: Client) -> None:
    with pytest.raises(BadInput, match="with which no run can be stored") as caught:
        client.enqueue("order", 1, connection=given)
    assert "psycopg" in (caught.value.hint or "")


def test_a_connection_to_another_database_is_refused(client: Client) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        with pytest.raises(BadInput, match=r"sqlite3.Connection, which is no connection to PostgreSQL") as caught:
            client.enqueue("order", 1, connection=connection)
        assert "Client.statement()" in (caught.value.hint or "")


def test_a_statement_needs_no_database_and_is_the_same_for_both_clients(folder: Path, client: Client) -> None:
    id = "01a2b3c4-0000-7000-8000-000000000000"
    sql, parameters = client.statement("order", 1, id=id, notify=False)
    assert '"tako".runs' in sql
    assert parameters[1] == "{}"  # type: ignore[index]

    async def use() -> tuple[str, Any]:
        async with AsyncClient(folder) as asynchronous:
            return asynchronous.statement("order", 1, id=id, notify=False)

    assert asyncio.run(use()) == (sql, parameters)


def test_the_sqlstate_is_found_in_what_a_framework_wraps() -> None:
    class Wrapped(Exception):
        pass

    by_alchemy, by_django, by_pg8000 = Wrapped(), Wrapped(), Wrapped({"C": "42P01"})
    by_alchemy.orig = SimpleNamespace(pgcode="42501")  # type: ignore[attr-defined]
    by_django.__cause__ = type("Cause", (Exception,), {"sqlstate": "3F000"})()
    assert [sqlstate_of(error) for error in (by_alchemy, by_django, by_pg8000, Wrapped())] == ["42501", "3F000", "42P01", None]
    with pytest.raises(BadInput):
        resolve(None)


def test_without_psycopg_a_client_says_what_to_install_and_ends_with_four(folder: Path) -> None:
    program = "import sys; sys.modules['psycopg'] = None; from tako_lite.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "enqueue", "order", "-c", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "pip install 'tako-lite[postgres]'" in done.stderr
