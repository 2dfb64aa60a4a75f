"""What `doctor` checks of a queue in PostgreSQL: one connection, which only reads."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

import psycopg

from tako_lite.errors import TakoError
from tako_lite.finding import Finding
from tako_lite.store import reading
from tako_lite.store.opening import QueueCheck
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import READER, connect, consistent, first_line, is_pooled, translate
from tako_lite.store.postgres.migrate import find_schema, known, refuse_newer, refuse_other_project, version_of
from tako_lite.store.postgres.size import size_of
from tako_lite.store.postgres.transaction import Connection
from tako_lite.units import counted, duration_text, size_text

LISTENING: Final = 2.0
"""Seconds in which a notification of our own must come back."""
CLOCK_OFF: Final = 5.0
LONG_TRANSACTION: Final = 300.0
LAG: Final = 60.0
"""Seconds from which a finding is a warning."""
FEW_CONNECTIONS: Final = 10
MANY_DEAD: Final = 100_000
"""Dead rows, if they are more than the live ones, that cost claims time."""

_CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_STANDBY: Final = "SELECT pg_is_in_recovery()"
_TABLES: Final = "('runs', 'steps', 'waits')"
_RIGHTS: Final = """
SELECT relname, privilege
FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS asked (privilege, place)
WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND NOT has_table_privilege(oid, privilege) ORDER BY relname, place
"""
_LONGEST: Final = """
SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''), state,
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND datname = current_database()
ORDER BY xact_start LIMIT 1
"""
_SLOTS: Final = "SELECT slot_name FROM pg_replication_slots WHERE (xmin IS NOT NULL OR catalog_xmin IS NOT NULL) AND NOT active"
_PREPARED: Final = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts
WHERE database = current_database() ORDER BY prepared LIMIT 1
"""
_DEAD_ROWS: Final = f"""
SELECT relname, n_live_tup, n_dead_tup,
    extract(epoch FROM clock_timestamp() - greatest(last_autovacuum, last_vacuum))::float8
FROM pg_stat_user_tables WHERE schemaname = %s AND relname IN {_TABLES} ORDER BY n_dead_tup DESC
"""  # noqa: S608  # names of ours
_AUTOVACUUM: Final = "SELECT current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean"
_CONNECTIONS: Final = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int
"""
_LAG_OF_STANDBYS: Final = """
SELECT coalesce(nullif(application_name, ''), host(client_addr), 'a standby'),
    extract(epoch FROM replay_lag)::float8, sync_state
FROM pg_stat_replication ORDER BY replay_lag DESC NULLS LAST LIMIT 1
"""


class DeadRows(NamedTuple):
    """The rows of a table that are alive, those that wait for a vacuum, and the seconds since the last one."""

    table: str
    live: int
    dead: int
    since: float | None


def database(address: Address, about: QueueCheck) -> Iterator[Finding]:
    """Whether the database answers, has the queue, lets this role use it, and is in good health."""
    try:
        with closing(connect(address, "doctor", READER)) as connection:
            yield Finding("database", "ok", f"{address} answers, PostgreSQL {_release(connection)}, {_encryption(connection)}")
            for check in (_standby, _schema, _rights, _pooler, _clock, _transactions, _dead_rows, _connections, _replication):
                yield from _guarded(check, connection, address, about)
    except psycopg.Error as error:
        raise translate(error, address) from error


def _guarded(
    check: Callable[[Connection, Address, QueueCheck], Iterator[Finding]],
    connection: Connection,
    address: Address,
    about: QueueCheck,
) -> Iterator[Finding]:
    """The findings of a check; an error of it is one more, and the next checks follow."""
    try:
        yield from check(connection, address, about)
    except (TakoError, psycopg.Error) as error:
        found = translate(error, address)
        yield Finding(check.__name__.strip("_"), "problem", found.message, found.hint or "tako-lite doctor, once more")


def _release(connection: Connection) -> str:
    number = connection.info.server_version
    return f"{number // 10_000}.{number % 10_000}"


def _encryption(connection: Connection) -> str:
    return "encrypted by TLS" if connection.pgconn.ssl_in_use else "not encrypted"


def _standby(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    if connection.execute(_STANDBY).fetchall()[0][0]:
        fix = "name all hosts in url, such as postgresql://tako@db1,db2/app: the one that writes is chosen"
        yield Finding("database", "problem", "it is a standby, which cannot be written", fix)


def _schema(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    """Whether the schema is there, up to date, and of this project; what is in it."""
    found, newest = find_schema(connection, address.schema), known()[-1].number
    if found is None or not found.relations:
        yield _missing(connection, address)
        return
    version = version_of(connection, address.schema)
    refuse_newer(connection, address.schema, version)
    refuse_other_project(connection, address)
    if version < newest:
        what = f"the schema {address.schema} has version {version} of an older release: this one needs {newest}"
        yield Finding("schema", "warning", what, "tako-lite migrate, which the next serve does as well")
        return
    size = size_text(consistent(connection, address.schema, lambda snapshot: size_of(snapshot.connection)))
    yield Finding("schema", "ok", f"the schema {address.schema} is up to date (version {version}) and has {size}")
    yield from about.find_undefined(consistent(connection, address.schema, reading.count_queued_by_workflow))


def _missing(connection: Connection, address: Address) -> Finding:
    what = f"the schema {address.schema} does not exist yet"
    may = "SELECT has_database_privilege(current_database(), 'CREATE')"
    if connection.execute(may).fetchall()[0][0]:
        return Finding("schema", "info", f"{what}: the first enqueue, or serve, creates it")
    why = f"{what}, and the role {connection.info.user} may not create it"
    return Finding("schema", "problem", why, "have the owner of the database run: tako-lite migrate --sql | psql")


def _rights(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    if (found := find_schema(connection, address.schema)) is None or not found.is_queue:
        return
    lacking: dict[str, list[str]] = {}
    for table, privilege in connection.execute(_RIGHTS, [address.schema]).fetchall():
        lacking.setdefault(table, []).append(privilege)
    if not lacking:
        yield Finding("rights", "ok", f"the role {connection.info.user} may read and write every table")
        return
    table, privileges = next(iter(lacking.items()))
    more = f", and {counted(len(lacking) - 1, 'more table')}" if len(lacking) > 1 else ""
    what = f"the role {connection.info.user} lacks {', '.join(privileges)} on {table}{more}"
    yield Finding("rights", "problem", what, f'have the owner run: GRANT tako TO "{connection.info.user}"')


def _pooler(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    """Whether a pooler stands in front, and whether notifications arrive."""
    pooled = is_pooled(connection)
    if pooled and address.listen_url is None:
        what = "a pooler is in front of the database, through which notifications do not arrive: runs start up to 1s late"
        yield Finding("pooler", "warning", what, "set `listen_url` in [queue] to the database itself")
    elif pooled:
        yield Finding("pooler", "ok", "a pooler is in front of the database, and `listen_url` leads around it")
    channel = f"tako_doctor_{secrets.token_hex(4)}"
    with closing(connect(address, "doctor listener", READER, listening=True)) as listener:
        listener.execute(f"LISTEN {channel}")
        try:
            connection.execute("SELECT pg_notify(%s, '')", [channel])
        except psycopg.Error as error:
            blockers = "SELECT pid, query FROM pg_stat_activity WHERE state = 'idle in transaction'"
            what = f"PostgreSQL accepts no notification, so other servers find new work up to 5 s late: {first_line(error)}"
            yield Finding("listen", "problem", what, f"end the session that listens and stays in a transaction: {blockers}")
            return
        arrived = any(listener.notifies(timeout=LISTENING, stop_after=1))
    if arrived:
        yield Finding("listen", "ok", "a notification came back through LISTEN")
    elif not (pooled and address.listen_url is None):
        what = f"a notification did not come back within {duration_text(LISTENING)}: runs of other servers start up to 1s late"
        yield Finding("listen", "warning", what, "set `listen_url` in [queue] to the database itself, without a pooler")


def _clock(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    before = about.clock.now()
    (theirs,) = connection.execute(_CLOCK).fetchall()[0]
    yield judge_clock((theirs - (before + about.clock.now()) / 2) / 1000)


def judge_clock(ahead: float) -> Finding:
    """The finding about the seconds by which the clock of the database is ahead of that of this machine."""
    if abs(ahead) < CLOCK_OFF:
        return Finding("clock", "ok", "the clocks of the database and of this machine agree")
    side = "ahead of" if ahead > 0 else "behind"
    what = f"the clock of the database is {duration_text(round(abs(ahead)))} {side} that of this machine"
    why = "the queue goes by the database, the times in logs by this machine"
    return Finding("clock", "warning", f"{what}: {why}", "timedatectl shows on each machine whether its clock is correct")


def _transactions(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    """What keeps dead rows from being cleaned away: long transactions, prepared ones, slots that nobody reads."""
    if not connection.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE')").fetchall()[0][0]:
        what = f"the role {connection.info.user} sees only its own transactions, so long ones of others stay unknown"
        yield Finding("transactions", "info", what, f'GRANT pg_read_all_stats TO "{connection.info.user}"')
        return
    longest = connection.execute(_LONGEST).fetchall()
    yield judge_transaction(*(longest[0] if longest else (0, "", "", "", 0.0)))
    for gid, age in connection.execute(_PREPARED).fetchall():
        if age > LONG_TRANSACTION:
            what = f"the prepared transaction {gid} is open for {duration_text(round(age))}: no dead row is cleaned away"
            yield Finding("transactions", "warning", what, f"ROLLBACK PREPARED '{gid}', if nothing will commit it")
    for (slot,) in connection.execute(_SLOTS).fetchall():
        what = f"nothing reads the replication slot {slot}, which keeps dead rows from being cleaned away"
        yield Finding("transactions", "warning", what, f"SELECT pg_drop_replication_slot('{slot}'), if it is not needed")


def judge_transaction(pid: int, user: str, program: str, state: str, age: float) -> Finding:
    """The finding about the transaction that is open for the longest time."""
    if age < LONG_TRANSACTION:
        return Finding("transactions", "ok", "no transaction is open for long")
    who = f"{user}, {program}" if program else user
    what = f"a transaction of {who} (pid {pid}, {state}) is open for {duration_text(round(age))}"
    why = "until it ends, no dead row is cleaned away, and claims become slower"
    return Finding("transactions", "warning", f"{what}: {why}", f"SELECT pg_terminate_backend({pid}) ends it")


def _dead_rows(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    found = [DeadRows._make(row) for row in connection.execute(_DEAD_ROWS, [address.schema]).fetchall()]
    yield from judge_dead_rows(found, address.schema)
    if not connection.execute(_AUTOVACUUM).fetchall()[0][0]:
        what = "autovacuum is off: dead rows collect, and claims become slower with each run"
        yield Finding("vacuum", "warning", what, "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()")


def judge_dead_rows(tables: list[DeadRows], schema: str) -> Iterator[Finding]:
    """The findings about dead rows, the worst table first."""
    bad = [found for found in tables if found.dead > MANY_DEAD and found.dead > found.live]
    for table, live, dead, since in bad:
        last = "never" if since is None else f"{duration_text(round(since))} ago"
        what = f"{table} has {dead:,} dead rows beside {live:,} live ones; the last vacuum was {last}"
        yield Finding("vacuum", "warning", what, f"VACUUM {schema}.{table}; the check `transactions` shows what prevents it")
    if tables and not bad:
        yield Finding("vacuum", "ok", f"{tables[0].table} has {tables[0].dead:,} dead rows, the most of all tables")


def _connections(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    yield judge_connections(*connection.execute(_CONNECTIONS).fetchall()[0])


def judge_connections(most: int, used: int) -> Finding:
    """The finding about the connections that the database has left; a server needs three."""
    what = f"{used} of {most} connections are in use"
    if most - used >= FEW_CONNECTIONS:
        return Finding("connections", "ok", what)
    return Finding(
        "connections", "warning", f"{what}; a server needs 3", "raise max_connections, or use a pooler and `listen_url`"
    )


def _replication(connection: Connection, address: Address, about: QueueCheck) -> Iterator[Finding]:
    for name, lag, kind in connection.execute(_LAG_OF_STANDBYS).fetchall():
        yield judge_lag(name, lag, kind)


def judge_lag(name: str, lag: float | None, kind: str | None) -> Finding:
    """The finding about the standby that is the furthest behind."""
    how = "synchronous" if kind in ("sync", "quorum") else "asynchronous"
    if lag is None or lag < LAG:
        risk = "" if how == "synchronous" else ": a failover may lose the newest commits"
        return Finding("replication", "ok", f"the {how} standby {name} is up to date{risk}")
    what = f"the {how} standby {name} is {duration_text(round(lag))} behind: a failover would lose that much"
    return Finding("replication", "warning", what, "SELECT * FROM pg_stat_replication shows where it waits")
