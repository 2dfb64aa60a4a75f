"""Connections over which nothing arrives any more, while all seems open: every wait on them ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tako_lite.store.opening import queue_at
from tako_lite.store.postgres.connection import BoundedConnection, connect, is_passing
from tako_lite.store.postgres.queue import PostgresQueue
from tests.faults.postgres.wire import Wire
from tests.support.backends import PostgresBackend


def commit(connection: BoundedConnection, wire: Wire) -> None:
    with connection.transaction():
        connection.execute("SELECT 1")
        wire.apply("swallow")


def roll_back(connection: BoundedConnection, wire: Wire) -> None:
    with suppress(ZeroDivisionError), connection.transaction():
        connection.execute("SELECT 1")
        wire.apply("swallow")
        raise ZeroDivisionError
    connection.execute("SELECT 1")


def execute(connection: BoundedConnection, wire: Wire) -> None:
    wire.apply("swallow")
    connection.execute("SELECT 1")


def copy_out(connection: BoundedConnection, wire: Wire) -> None:
    wire.apply("swallow")
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1) TO STDOUT") as copied:
        copied.read()


@pytest.mark.parametrize("use", [execute, commit, roll_back, copy_out])
def test_a_connection_over_which_nothing_arrives_is_closed_after_its_patience(
    wire: Wire, postgres_backend: PostgresBackend, tmp_path: Path, use: Callable[[BoundedConnection, Wire], None]
) -> None:
    queue = queue_at(wire.url(postgres_backend.database.name), tmp_path)
    assert isinstance(queue, PostgresQueue)
    with closing(connect(queue.place, "test", {}, patience=0.5)) as connection:
        with pytest.raises(psycopg.OperationalError, match=r"no answer for|closed") as raised:
            use(connection, wire)
        assert connection.closed
        assert is_passing(raised.value), "another connection may do it"


def test_a_slow_answer_is_waited_for_as_long_as_something_arrives(
    wire: Wire, postgres_backend: PostgresBackend, tmp_path: Path
) -> None:
    queue = queue_at(wire.url(postgres_backend.database.name), tmp_path)
    assert isinstance(queue, PostgresQueue)
    rows = "SELECT repeat('x', 100000) FROM generate_series(1, 30)"
    with closing(connect(queue.place, "test", {}, patience=0.5)) as connection:
        wire.delay(0.05)
        assert len(connection.execute(rows).fetchall()) == 30


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_failed_rollback_is_a_line_of_the_log_for_connections_of_others_only(
    wire: Wire,
    postgres_backend: PostgresBackend,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    is_ours: bool,
    in_pipeline: bool,
) -> None:
    url = wire.url(postgres_backend.database.name)
    queue = queue_at(url, tmp_path)
    assert isinstance(queue, PostgresQueue)
    opened = connect(queue.place, "test", {}) if is_ours else psycopg.connect(url, application_name="test")
    with closing(opened) as connection:
        block = connection.pipeline() if in_pipeline else connection.transaction()
        with pytest.raises(ZeroDivisionError), block:
            connection.execute("SELECT 1")
            wire.arm("cut", only="test")
            raise ZeroDivisionError
    assert wire.sprung == 1
    assert ["error ignored" in record.getMessage() for record in caplog.records] == ([] if is_ours else [True])
