"""The tools of these faults do what they say: the wire, the pooler, a standby, a server that stands still."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from tests.faults.postgres.pooler import pooler
from tests.faults.postgres.wire import Wire
from tests.support.postgres import Cluster, Database, Server, new_cluster, remove
from tests.support.project import wait_until


@pytest.fixture
def connection(wire: Wire, database: Database) -> Iterator[psycopg.Connection]:
    """A connection over the wire, with an empty table."""
    database.execute("DROP TABLE IF EXISTS notes; CREATE TABLE notes (note text)")
    with closing(opened(wire, database)) as made:
        yield made


def opened(wire: Wire, database: Database) -> psycopg.Connection:
    url = wire.url(database.name)
    return psycopg.connect(url, application_name="tako here writer", connect_timeout=2)


def notes(database: Database) -> list[tuple[str]]:
    return database.execute("SELECT note FROM notes")


def test_a_message_that_is_cut_arrives_nowhere(wire: Wire, connection: psycopg.Connection, database: Database) -> None:
    connection.execute("INSERT INTO notes VALUES ('a')")
    wire.arm("cut")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert (notes(database), wire.sprung, connection.broken) == ([], 1, True)


def test_a_commit_whose_answer_is_lost_is_stored(wire: Wire, connection: psycopg.Connection, database: Database) -> None:
    wire.arm("unanswered", text=b"COMMIT")
    connection.execute("INSERT INTO notes VALUES ('a')")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert (notes(database), wire.sprung) == ([("a",)], 1)


def test_a_session_that_is_terminated_says_so(wire: Wire, connection: psycopg.Connection, database: Database) -> None:
    wire.arm("terminated", 3)  # the first begins the transaction
    connection.execute("INSERT INTO notes VALUES ('a')")
    with pytest.raises(psycopg.Error):
        connection.execute("INSERT INTO notes VALUES ('b')")
    assert (notes(database), wire.disarm()) == ([], False)


def test_a_trap_that_no_message_reached_is_still_armed(wire: Wire, connection: psycopg.Connection) -> None:
    wire.arm("cut", 3)
    connection.execute("SELECT 1")
    assert (wire.disarm(), wire.sprung) == (True, 0)
    connection.execute("SELECT 1")


@pytest.mark.parametrize("kind", ["drop", "reset"])
def test_a_broken_wire_ends_open_connections_and_refuses_new_ones(
    wire: Wire, connection: psycopg.Connection, database: Database, kind: str
) -> None:
    wire.apply(kind)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        opened(wire, database)
    wire.apply("pass")
    opened(wire, database).close()


def test_a_wire_that_is_held_delivers_everything_later(wire: Wire, database: Database) -> None:
    with closing(opened(wire, database)) as held, ThreadPoolExecutor(1) as threads:
        wire.apply("hold", only="writer")
        answer = threads.submit(held.execute, "SELECT 1")
        assert wire.names() == ["tako here writer"]
        wire.apply("pass")
        assert answer.result(10).fetchall() == [(1,)]


def test_a_wire_that_swallows_keeps_the_connection_open(wire: Wire, connection: psycopg.Connection) -> None:
    wire.apply("swallow")
    connection.pgconn.send_query(b"SELECT 1")
    connection.pgconn.flush()
    assert connection.pgconn.is_busy()
    assert wire.names() == ["tako here writer"]


def test_behind_the_pooler_a_session_belongs_to_a_client_for_one_transaction(postgres: Server, database: Database) -> None:
    with pooler(postgres, database.name) as url, closing(psycopg.connect(url)) as first:
        ((pid,),) = first.execute("SELECT pg_backend_pid()").fetchall()
        assert pid != first.info.backend_pid


def test_a_standby_that_is_promoted_has_what_was_stored_and_takes_writes(cluster: Cluster) -> None:
    database = cluster.server.make_database("app")
    database.execute("CREATE TABLE notes AS SELECT 'a' AS note")
    standby = new_cluster()
    standby.copy(cluster)
    standby.start()
    try:
        copy = Database(standby.server.url("app"))
        database.execute("INSERT INTO notes VALUES ('b')")
        wait_until(lambda: notes(copy) == [("a",), ("b",)], "the standby has followed")
        cluster.freeze()
        standby.promote()
        copy.execute("INSERT INTO notes VALUES ('c')")
        assert len(notes(copy)) == 3
    finally:
        cluster.signal(signal.SIGCONT)
        remove(standby.folder)
