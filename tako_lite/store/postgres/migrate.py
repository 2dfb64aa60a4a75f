"""Creates the schema of a queue and brings it up to date, one program at a time.

Migrations expand the schema, so that the release before still works on it. `oldest_program` in `meta` is the schema that a
program must know to write. A migration that begins with the line `-- contracts` raises it; it waits until no server of an older
release lives.
"""

from __future__ import annotations

import time
from importlib.metadata import version as release_of
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from tako_lite.errors import StoreBusy, StoreDamaged, StoreError, StoreTooNew, StoreTooOld, WrongProject
from tako_lite.store.migrate import Migrated, Migration, migrations
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import LONG, patient, tables_exist
from tako_lite.store.postgres.transaction import Connection

PACKAGE: Final = "tako_lite.store.postgres"
PATIENCE: Final = 60.0
"""Seconds for which a migration waits for the locks of others, five seconds at a time."""
_WHILE_MIGRATING: Final = {"lock_timeout": "5s", "statement_timeout": "0", "client_connection_check_interval": "1s"}
"""The last one frees the locks of a program that was killed, even while the server works for it."""
CONTRACTS: Final = "-- contracts\n"

_FOUND: Final = """
SELECT pg_get_userbyid(nspowner)::text, pg_has_role(current_user, nspowner, 'MEMBER'),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_namespace.oid)::int,
    EXISTS (
        SELECT FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = pg_namespace.oid AND relname = 'meta' AND attname = 'schema_version'
    )
FROM pg_namespace WHERE nspname = %s
"""
_OLDER_SERVERS: Final = """
SELECT name, host, program FROM servers
WHERE ended_at IS NULL AND renewed_at + lease > clock_timestamp() AND program <> %s ORDER BY name
"""
LOCK: Final = "pg_advisory_xact_lock(hashtextextended('tako migrate ' || {}, 0))"


class Found(NamedTuple):
    """A schema that exists: its owner, whether this role may act as that, and what is in it."""

    owner: str
    may_change: bool
    relations: int
    is_queue: bool


def known() -> list[Migration]:
    """The migrations of this release, oldest first."""
    return migrations(PACKAGE)


def find_schema(connection: Connection, schema: str) -> Found | None:
    """The schema as it is; None if there is none."""
    found = connection.execute(_FOUND, [schema], prepare=False).fetchall()
    return Found(*found[0]) if found else None


def version_of(connection: Connection, schema: str) -> int:
    """The number of the newest migration that a schema has; 0 for none."""
    return int(_of_meta(connection, schema, "schema_version") or 0) if tables_exist(connection, schema) else 0


def prepare(connection: Connection, address: Address) -> None:
    """Bring the queue at an address up to date, and have it belong to the project. Raises StoreError and WrongProject."""
    migrate(connection, address)
    if address.project is not None:
        _adopt(connection, address, address.project)


def migrate(connection: Connection, address: Address) -> Migrated:
    """Create the schema or apply what it lacks.

    Raises StoreTooNew, WrongProject, StoreError where the role may not, and psycopg.Error.
    """
    schema = address.schema
    steps, found = known(), find_schema(connection, schema)
    newest = steps[-1].number
    version = _version(connection, schema, found)
    if version:
        refuse_newer(connection, schema, version)
        refuse_other_project(connection, address)
    if version >= newest:
        return Migrated(version, version, ())
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _migrate(connection, schema, steps)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
        except psycopg.errors.InsufficientPrivilege as error:
            raise _not_allowed(connection, schema, version, error) from error


def _migrate(connection: Connection, schema: str, steps: list[Migration]) -> Migrated:
    with patient(connection, LONG), connection.transaction():
        for setting, value in _WHILE_MIGRATING.items():
            connection.execute("SELECT set_config(%s, %s, true)", [setting, value])
        connection.execute(f"SELECT {LOCK.format('%s')}", [schema])
        version = _make_schema(connection, schema)  # another program may have been faster
        missing = [step for step in steps if step.number > version]
        connection.execute("SELECT set_config('search_path', %s, true)", [sql.Identifier(schema).as_string(connection)])
        if version and any(_contracts(step) for step in missing):
            _refuse_older_servers(connection)
        for step in missing:
            connection.execute(step.script.encode(), prepare=False)
            connection.execute(recorded(step).encode(), prepare=False)
    return Migrated(version, steps[-1].number, tuple(step.name for step in missing))


def _make_schema(connection: Connection, schema: str) -> int:
    """Create the schema unless it exists, act as its owner, and return its version. Raises StoreDamaged for a foreign one."""
    found = find_schema(connection, schema)
    version = _version(connection, schema, found)
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    elif found.may_change:  # whoever migrates, all tables have one owner, and with it the rights that it gave to others
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(found.owner)))
    return version


def _version(connection: Connection, schema: str, found: Found | None) -> int:
    """The version of a schema; 0 for one without tables. Raises StoreDamaged for one with tables of others."""
    if found is None or not found.relations:
        return 0
    if not found.is_queue:
        raise StoreDamaged(
            f"the schema {schema} has tables, but no queue of tako-lite", hint="name another one as `schema` in [queue]"
        )
    return int(_of_meta(connection, schema, "schema_version") or 0)


def _not_allowed(connection: Connection, schema: str, version: int, error: psycopg.Error) -> StoreError:
    role, database = connection.info.user, connection.info.dbname
    what = f"upgrade the schema {schema} from {version}" if version else f"create the schema {schema}"
    grant = f'or allow it: GRANT CREATE ON DATABASE "{database}" TO "{role}"'
    return StoreError(
        f"the role {role} may not {what} in the database {database}: {str(error).strip()}",
        hint="have its owner run: tako-lite migrate --sql | psql; "
        + (f'or: GRANT tako_owner TO "{role}"' if version else grant),
    )


def _refuse_older_servers(connection: Connection) -> None:
    if found := connection.execute(_OLDER_SERVERS, [release_of("tako-lite")]).fetchall():
        names = ", ".join(f"{name} on {host} (version {program})" for name, host, program in found)
        raise StoreBusy(f"the migration would stop servers of older releases: {names}", hint="stop or upgrade them first")


def _contracts(step: Migration) -> bool:
    return step.script.startswith(CONTRACTS)


def recorded(step: Migration) -> str:
    """The statement that notes a migration in `meta`."""
    contracted = f", oldest_program = {step.number}" if _contracts(step) else ""
    return (
        f"INSERT INTO meta (schema_version, oldest_program) VALUES ({step.number}, {step.number}) "  # noqa: S608  # our numbers
        f"ON CONFLICT (one) DO UPDATE SET schema_version = {step.number}{contracted};"
    )


def _adopt(connection: Connection, address: Address, project: str) -> None:
    """Have a queue belong to a project, unless it belongs to one. Raises WrongProject if that is another one."""
    if _of_meta(connection, address.schema, "project") is None:
        meta = sql.Identifier(address.schema, "meta")
        connection.execute(sql.SQL("UPDATE {} SET project = %s WHERE project IS NULL").format(meta), [project], prepare=False)
    refuse_other_project(connection, address)


def refuse_other_project(connection: Connection, address: Address) -> None:
    """Raise WrongProject if the queue at an address belongs to another project."""
    owner = _of_meta(connection, address.schema, "project")
    if owner is not None and address.project is not None and owner != address.project:
        rename = f"UPDATE {address.schema}.meta SET project = '{address.project}'"  # noqa: S608  # both are plain names
        raise WrongProject(
            f"the queue in {address}, schema {address.schema}, belongs to the project {owner}, and this is {address.project}",
            hint=f"set another `schema` in [queue]; if the project was renamed: {rename}",
        )


def _of_meta(connection: Connection, schema: str, column: str) -> str | int | None:
    statement = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(schema, "meta"))
    value: str | int | None = connection.execute(statement, prepare=False).fetchall()[0][0]
    return value


def refuse_newer(connection: Connection, schema: str, version: int) -> None:
    """Raise StoreTooNew if a newer release wrote the schema and says that this one must not."""
    newest = known()[-1].number
    if version > newest and int(_of_meta(connection, schema, "oldest_program") or 0) > newest:
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
