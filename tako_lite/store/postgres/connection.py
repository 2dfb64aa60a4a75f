"""Connections to the database: how they are opened, on which thread they work, and what their errors mean."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from tako_lite.errors import StorageFull, StoreBusy, StoreDamaged, StoreError, StoreUnreachable, TakoError
from tako_lite.store.opening import Durability
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.transaction import Connection, PostgresSnapshot

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection to open, and then for the answer to each of its first statements."""
PATIENCE: Final = 35.0
"""Seconds for an answer of the server, which itself ends most statements after 30 s."""
LONG: Final = 3_600.0
"""The same for a statement that reads or writes whole tables."""
_KEEPALIVE: Final[dict[str, Any]] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
LIMITS: Final = {"lock_timeout": "2s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "5s"}
PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}
"""For the writer: the statistics of a queue are always stale, and its statements are written for the indexes that they use.

A scan of a small table counts as very costly then, and PostgreSQL would compile its statement each time: 20 ms to 200 ms.
"""
READER: Final = {"statement_timeout": "10s"}
OLDEST_SERVER: Final = 150_000

_PASSING: Final = ("08", "53", "57P", "40", "25006", "25P03", "58")
"""SQLSTATEs of what passes by itself, or with another connection: any operation would have met it."""
_OF_SCHEMA: Final = ("42P01", "42501", "3F000", "42703")
"""SQLSTATEs of a schema that is gone, that has another shape, or that the role {address.role} may not use."""

_LOGIN_REFUSED: Final = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "is not permitted to log in")
"""What the errors of a login say: libpq passes on no SQLSTATE while it connects."""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose every wait ends: it closes if the server sends nothing for `patience` seconds.

    A network that swallows what is sent raises no error by itself, as long as something acknowledges the packets.
    """

    patience: float = CONNECT_TIMEOUT

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._bounded(gen), *arguments, **options)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same steps of the protocol; psycopg sends 0 ten times a second while the socket is not ready."""
        heard_at = time.monotonic()
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.patience:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {self.patience:.0f} s")
                state = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


def _is_about_others(record: logging.LogRecord) -> bool:
    """Whether a line of the log of psycopg is about more than an end on a lost connection of ours, whose error is raised."""
    if not str(record.msg).startswith("error ignored") or not isinstance(record.args, tuple):
        return True
    return not isinstance(getattr(record.args[0], "_conn", None), BoundedConnection)


for _name in ("psycopg", "psycopg.transaction"):
    logging.getLogger(_name).addFilter(_is_about_others)


def connect(
    address: Address, purpose: str, settings: dict[str, str], *, listening: bool = False, patience: float = PATIENCE
) -> BoundedConnection:
    """A connection in autocommit mode. `settings` hold for the session; behind a pooler, each transaction sets them.

    Raises StoreError for what a person must fix, and psycopg.Error.
    """
    url, parameters = address.parameters(listening=listening)
    connection = BoundedConnection.connect(
        url,
        autocommit=True,
        prepare_threshold=5,
        connect_timeout=round(CONNECT_TIMEOUT),
        application_name=f"tako {purpose}"[:63],
        **_KEEPALIVE,
        **parameters,
    )
    try:
        if connection.info.server_version < OLDEST_SERVER:
            version = connection.info.server_version // 10_000
            raise StoreError(f"{address} is PostgreSQL {version}; tako-lite needs 15 or newer")
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.prepared_max = 1_000
        if is_pooled(connection):
            connection.prepare_threshold = None
        else:
            apply_settings(connection, address.schema, settings, local=False)
    except BaseException:
        connection.close()
        raise
    connection.patience = patience
    return connection


@contextmanager
def patient(connection: Connection, seconds: float) -> Iterator[None]:
    """Wait so long for each answer meanwhile."""
    if not isinstance(connection, BoundedConnection):
        yield
        return
    before, connection.patience = connection.patience, seconds
    try:
        yield
    finally:
        connection.patience = before


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler stands between us and the server: then a session belongs to us for one transaction only."""
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchall()[0]
    return bool(pid != connection.info.backend_pid)


def apply_settings(connection: Connection, schema: str, settings: dict[str, str], *, local: bool) -> None:
    """Set the schema, time limits and others for the session, or with `local` for the current transaction."""
    path = sql.Identifier(schema).as_string(connection)
    every = {"search_path": path, **LIMITS, **settings}
    calls = ", ".join("set_config(%s, %s, %s)" for _ in every)
    connection.execute(f"SELECT {calls}", [value for pair in every.items() for value in (*pair, local)])


def consistent(
    connection: Connection, schema: str, function: Callable[[PostgresSnapshot], T], settings: dict[str, str] | None = None
) -> T:
    """Call a function whose statements all see the same commit, and which changes nothing.

    Each statement is one round trip, and the end of the transaction another one; its beginning goes along with the first. It is
    a COMMIT, because psycopg forgets what it has prepared at a ROLLBACK.
    """
    try:
        with connection.pipeline():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if settings is not None or connection.prepare_threshold is None:
                apply_settings(connection, schema, settings or READER, local=True)
            found = function(PostgresSnapshot(connection))
            connection.execute("COMMIT")
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    return found


def writer_settings(durability: Durability) -> dict[str, str]:
    """The settings of the connection that writes."""
    return PLANS if durability == "disk" else {**PLANS, "synchronous_commit": "off"}


def cut(connection: Connection) -> None:
    """Shut a connection down from another thread: the one that waits for it gets an error."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class ConnectionThread:
    """A thread that runs functions one after the other, begun by the first. It cannot outlive the process."""

    def __init__(self, name: str) -> None:
        self._functions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self, function: Callable[[], None]) -> None:
        """Run a function on the thread; it reports its own outcome."""
        self._functions.put(function)
        if self._thread.ident is None:
            self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function on the thread and return what it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def report(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        def work() -> None:
            try:
                result = function()
            except BaseException as error:
                loop.call_soon_threadsafe(report, None, error)
            else:
                loop.call_soon_threadsafe(report, result, None)

        self.start(work)
        return await future

    def stop(self) -> None:
        """End the thread after what it was given."""
        self._functions.put(None)

    def _work(self) -> None:
        while (function := self._functions.get()) is not None:
            function()


def is_passing(error: BaseException) -> bool:
    """Whether an error passes by itself or with another connection. A lost connection has no SQLSTATE."""
    if isinstance(error, StoreUnreachable):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_PASSING)


def is_of_database(error: BaseException) -> bool:
    """Whether any operation would have met the error."""
    return is_passing(error) or (isinstance(error, psycopg.Error) and (error.sqlstate or "") in _OF_SCHEMA)


def translate(error: BaseException, address: Address) -> TakoError:
    """The error of ours for one of psycopg."""
    if isinstance(error, TakoError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    text = first_line(error)
    if state in ("53100", "53200"):
        return StorageFull(
            f"the disk or the memory of {address} is full: {text}", hint="free some; work then resumes by itself"
        )
    if state in ("55P03", "40P01", "40001"):
        hint = "SELECT pid, query FROM pg_stat_activity shows what the others do; work resumes by itself"
        return StoreBusy(f"another session holds a lock in {address}: {text}", hint=hint)
    if state == "42501":
        hint = (
            f'have its owner run: GRANT tako TO "{address.role}"; where there is no role tako: tako-lite migrate --sql | psql'
        )
        return StoreDamaged(f"the role {address.role} may not use the queue in {address}: {text}", hint=hint)
    if state in _OF_SCHEMA:
        return StoreDamaged(
            f"the schema {address.schema} of {address} has not the tables of a queue: {text}", hint="tako-lite migrate"
        )
    if state.startswith("28") or any(words in text for words in _LOGIN_REFUSED):
        hint = "tako-lite doctor tries it; a running daemon reads the password again with each attempt"
        return StoreUnreachable(f"{address} refuses the login, check `password` in [queue]: {text}", hint=hint)
    if is_passing(error):
        hint = "work resumes by itself once it answers; tako-lite doctor shows more"
        return StoreUnreachable(f"the database {address} does not answer: {text}", hint=hint)
    return StoreError(f"{address}: {text}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def tables_exist(connection: Connection, schema: str) -> bool:
    """Whether the schema holds a queue."""
    return bool(connection.execute("SELECT to_regclass(%s)", [f'"{schema}".meta'], prepare=False).fetchall()[0][0])
