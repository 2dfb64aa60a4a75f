"""What `tako-lite migrate` does to a database, and the same as SQL for its administrator, with the three roles.

`tako_owner` owns the tables and migrates, `tako` serves the queue, `tako_enqueue` only stores new runs. They cannot log in:
users become their members.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

import psycopg
from psycopg.sql import Literal

from tako_lite.errors import StoreUnreachable
from tako_lite.store.migrate import Migrated
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import connect, translate
from tako_lite.store.postgres.migrate import LOCK, find_schema, known, migrate, recorded, version_of

OWNER: Final = "tako_owner"
_ROLES: Final = f"""\
DO $$
DECLARE
    role text;
BEGIN
    PERFORM {{lock}};  -- no other program migrates meanwhile
    FOREACH role IN ARRAY ARRAY['{OWNER}', 'tako', 'tako_enqueue'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, '{OWNER}', 'MEMBER') THEN
        EXECUTE format('GRANT {OWNER} TO %I', current_user);
    END IF;
END
$$;"""
_RIGHTS: Final = """\
GRANT USAGE ON SCHEMA {schema} TO tako, tako_enqueue;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO tako;
GRANT SELECT, INSERT ON {schema}.runs, {schema}.signals TO tako_enqueue;
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tako;"""


def migrate_at(address: Address) -> Migrated:
    """Bring the schema at an address up to date. Raises StoreError."""
    try:
        with closing(connect(address, "migrate", {})) as connection:
            return migrate(connection, address)
    except psycopg.Error as error:
        raise translate(error, address) from error


def script_for(address: Address) -> str:
    """The SQL that the database at an address lacks; all of it where that does not answer."""
    try:
        with closing(connect(address, "migrate", {})) as connection:
            found = find_schema(connection, address.schema)
            owner = OWNER if found is None else found.owner
            try:
                version = version_of(connection, address.schema)
            except psycopg.errors.InsufficientPrivilege:
                version = known()[-1].number  # it lacks rights, in the first place
            return script(address.schema, version, owner)
    except (psycopg.Error, StoreUnreachable) as error:
        reason = translate(error, address).message.replace("\n", " ")
        return f"-- For a database without the schema {address.schema}, as this one could not be asked: {reason}\n" + script(
            address.schema
        )


def script(schema: str, version: int = 0, owner: str = OWNER) -> str:
    """The SQL from a version on, in one transaction. Roles and rights are given again each time, which changes nothing."""
    steps = [step for step in known() if step.number > version]
    name, owning = f'"{schema}"', f'"{owner}"'
    created = "" if version else f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {owning};"
    parts = [
        f"-- The schema {schema} of a queue of tako-lite, and who may do what with it.",
        "BEGIN;",
        _ROLES.format(lock=LOCK.format(Literal(schema).as_string())),
        created,
        f"SET LOCAL ROLE {owning};" if steps else "",
        f"SET LOCAL search_path TO {name};" if steps else "",
        *(f"-- {step.name}\n{step.script.strip()}\n\n{recorded(step)}" for step in steps),
        "RESET ROLE;" if steps else "",
        _RIGHTS.format(schema=name, owner=owning),
        "COMMIT;",
        f"-- Then, for each user: CREATE ROLE shop LOGIN PASSWORD '…'; GRANT tako TO shop; for one that migrates, {OWNER} too.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
