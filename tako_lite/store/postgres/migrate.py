"""Creates the schema of a queue and brings it up to date, one program at a time."""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from tako_lite.errors import StoreTooNew, StoreTooOld
from tako_lite.store.migrate import Migration, migrations
from tako_lite.store.postgres.connection import tables_exist
from tako_lite.store.postgres.transaction import Connection

PACKAGE: Final = "tako_lite.store.postgres"
PATIENCE: Final = 60.0
"""Seconds for which a migration waits for the locks of others, five seconds at a time."""


def known() -> list[Migration]:
    """The migrations of this release, oldest first."""
    return migrations(PACKAGE)


def version_of(connection: Connection, schema: str) -> int:
    """The number of the newest migration that a schema has; 0 for none."""
    if not tables_exist(connection, schema):
        return 0
    return int(connection.execute("SELECT schema_version FROM meta", prepare=False).fetchall()[0][0])


def migrate(connection: Connection, schema: str) -> None:
    """Create the schema or apply what it lacks. Raises StoreTooNew, and psycopg.Error where the role may not."""
    newest = known()[-1].number
    version = version_of(connection, schema)
    refuse_newer(connection, version)
    if version >= newest:
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _migrate(connection, schema)
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise


def _migrate(connection: Connection, schema: str) -> None:
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', '5s', true)")
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('tako migrate ' || %s, 0))", [schema])
        version = version_of(connection, schema)  # another program may have been faster
        if connection.execute("SELECT to_regnamespace(%s)", [f'"{schema}"']).fetchall()[0][0] is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for step in known():
            if step.number > version:
                connection.execute(step.script.encode(), prepare=False)
                connection.execute(_recorded(step.number).encode(), prepare=False)


def script(schema: str, version: int = 0) -> str:
    """What `migrate` would run from a version on, for people who run it themselves."""
    name = '"' + schema + '"'
    parts = ["BEGIN;", f"CREATE SCHEMA IF NOT EXISTS {name};", f"SET LOCAL search_path TO {name};"]
    for step in known():
        if step.number > version:
            parts += [f"-- {step.name}", step.script.strip(), _recorded(step.number)]
    return "\n\n".join([*parts, "COMMIT;"]) + "\n"


def _recorded(number: int) -> str:
    return (
        f"INSERT INTO meta (schema_version, oldest_program) VALUES ({number}, {number}) "  # noqa: S608  # a number of ours
        f"ON CONFLICT (one) DO UPDATE SET schema_version = {number};"
    )


def refuse_newer(connection: Connection, version: int) -> None:
    """Raise StoreTooNew if a newer release wrote the schema and says that this one must not."""
    newest = known()[-1].number
    if version > newest:
        (oldest,) = connection.execute("SELECT oldest_program FROM meta", prepare=False).fetchall()[0]
        if oldest > newest:
            raise StoreTooNew(
                f"the queue has schema {version}; this release of tako-lite knows schemas up to {newest}",
                hint="install the release of tako-lite that wrote it, or a newer one",
            )


def refuse_older(version: int) -> None:
    """Raise StoreTooOld for a schema that lacks migrations."""
    newest = known()[-1].number
    if version < newest:
        raise StoreTooOld(
            f"the queue has schema {version}, of an older release of tako-lite; this one needs schema {newest}",
            hint="tako-lite migrate brings it up to date",
        )
