"""How the schema of a queue in PostgreSQL is made and upgraded, by whom, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tako_lite import __version__
from tako_lite.errors import StoreBusy, StoreDamaged, StoreError, StoreTooNew, TakoError, WrongProject
from tako_lite.store.migrate import Migrated, Migration
from tako_lite.store.opening import Queue, queue_at
from tako_lite.store.postgres import migrate as module
from tako_lite.store.postgres.address import postgres_address
from tako_lite.store.postgres.connection import connect
from tako_lite.store.postgres.migrate import known, prepare
from tako_lite.store.postgres.script import script
from tests.support.postgres import Database, Server, binaries
from tests.support.project import wait_until
from tests.support.store_bench import HandClock

pytestmark = pytest.mark.postgres

NEWEST = known()[-1].number
TIMES = 100 if os.environ.get("FAULTS") == "full" else 10
SLOW = """
import sys
from tako_lite.store.migrate import Migration
from tako_lite.store.postgres import migrate, script
from tako_lite.store.postgres.address import postgres_address

real = migrate.known()
migrate.known = lambda: [*real, Migration(len(real) + 1, "0099_slow", "CREATE TABLE half (); SELECT pg_sleep(100)")]
script.migrate_at(postgres_address(sys.argv[1], schema=sys.argv[2]))
"""


@pytest.fixture
def queue(database: Database, schema: str, tmp_path: Path) -> Queue:
    return queue_at(database.url, tmp_path, schema=schema)


@pytest.fixture
def user(postgres: Server, database: Database, schema: str) -> Iterator[str]:
    """A user without any rights in the database."""
    name = f"user_{schema}"
    database.execute(f"CREATE ROLE {name} LOGIN; REVOKE TEMPORARY ON DATABASE {urlsplit(database.url).path[1:]} FROM PUBLIC")
    database.execute(f"GRANT CONNECT ON DATABASE {urlsplit(database.url).path[1:]} TO {name}")
    yield name
    database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_user(database: Database, name: str) -> Database:
    parts = urlsplit(database.url)
    return Database(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl())


def with_migrations(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> None:
    """Have this release know more migrations."""
    steps = [
        *known(),
        *(Migration(NEWEST + number, f"{NEWEST + number:04}_more", text) for number, text in enumerate(scripts, 1)),
    ]
    monkeypatch.setattr(module, "known", lambda: steps)


def version(database: Database, schema: str) -> int:
    return int(database.execute("SELECT schema_version FROM meta", schema=schema)[0][0])


def at_once(*functions: Callable[[], object]) -> list[TakoError]:
    """Run functions at the same moment, and return the errors."""
    barrier, errors = threading.Barrier(len(functions)), list[TakoError]()

    def run(function: Callable[[], object]) -> None:
        barrier.wait()
        try:
            function()
        except TakoError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.full
def test_two_servers_that_start_at_once_on_an_empty_database_migrate_it_once(database: Database, schema: str) -> None:
    names = [f"{schema}_{number}" for number in range(TIMES)]
    try:
        addresses = [postgres_address(database.url, schema=names[0], project=project) for project in ("shop", "shop")]
        with closing(connect(addresses[0], "one", {})) as one, closing(connect(addresses[1], "two", {})) as two:
            for name in names:
                places = [postgres_address(database.url, schema=name, project="shop") for _ in range(2)]
                assert at_once(lambda: prepare(one, places[0]), lambda: prepare(two, places[1])) == []  # noqa: B023
                assert database.execute(f"SELECT schema_version, project FROM {name}.meta") == [(NEWEST, "shop")]
    finally:
        for name in names:
            database.drop_schema(name)


def test_it_says_what_it_did(queue: Queue, database: Database, schema: str) -> None:
    assert queue.migrate() == Migrated(0, NEWEST, tuple(step.name for step in known()))
    assert queue.migrate() == Migrated(NEWEST, NEWEST, ())


def test_a_file_says_the_same(tmp_path: Path) -> None:
    file = queue_at("sqlite:///queue.db", tmp_path)
    created = file.migrate()
    assert (created.before, created.after) == (0, len(created.applied))
    assert file.migrate() == Migrated(created.after, created.after, ())
    lock = file.write_lock()
    assert lock.acquire()
    with pytest.raises(StoreBusy, match=r"another program writes .*queue\.db"):
        file.migrate()
    lock.release()


def test_a_kill_in_a_migration_leaves_the_old_schema(queue: Queue, database: Database, schema: str) -> None:
    queue.migrate()
    process = subprocess.Popen([sys.executable, "-c", SLOW, database.url, schema])
    sleeping = (
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%pg_sleep(100)' AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: database.execute(sleeping), "the migration is under way")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert version(database, schema) == NEWEST
    assert database.execute("SELECT to_regclass('half')", schema=schema) == [(None,)]
    wait_until(lambda: not database.execute(sleeping), "the server noticed, and freed the lock")


def test_a_failing_migration_changes_nothing(
    queue: Queue, database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.migrate()
    with_migrations(monkeypatch, "CREATE TABLE first ()", "SELECT 1 / 0")
    with pytest.raises(StoreError, match="division by zero"):
        queue.migrate()
    assert (version(database, schema), database.execute("SELECT to_regclass('first')", schema=schema)) == (NEWEST, [(None,)])


def test_an_older_program_works_on_a_newer_schema_unless_that_contracts(
    queue: Queue, database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        with_migrations(newer, "CREATE TABLE more ()")
        queue.migrate()
    assert queue.migrate() == Migrated(NEWEST + 1, NEWEST + 1, ())
    assert queue.open_offline("disk", HandClock()).list_runs is not None
    with monkeypatch.context() as newer:
        with_migrations(newer, "CREATE TABLE more ()", "-- contracts\nDROP TABLE more")
        queue.migrate()
    with pytest.raises(StoreTooNew, match=rf"the queue has schema {NEWEST + 2}"):
        queue.migrate()
    assert version(database, schema) == NEWEST + 2


def test_a_migration_that_contracts_waits_for_the_servers_of_older_releases_and_names_them(
    queue: Queue, database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.migrate()
    columns = "(boot_id, server_id, name, host, program, lease, renewed_at, joined_at)"
    for name, program, age in (("fra", "0.0.9", "0s"), ("old", "0.0.9", "2m"), ("new", __version__, "0s")):
        values = f"('{name}', '{name}', '{name}', 'host-{name}', '{program}', '1m', clock_timestamp() - interval '{age}', 0)"
        database.execute(f"INSERT INTO servers {columns} VALUES {values}", schema=schema)
    with_migrations(monkeypatch, "-- contracts\nALTER TABLE runs DROP COLUMN trace")
    with pytest.raises(StoreBusy, match=r"older releases: fra on host-fra \(version 0\.0\.9\)$"):
        queue.migrate()
    database.execute("UPDATE servers SET ended_at = 1 WHERE name = 'fra'", schema=schema)
    assert queue.migrate().after == NEWEST + 1


def test_the_wrong_project_is_refused_and_the_queue_left_alone(database: Database, schema: str, tmp_path: Path) -> None:
    shop, billing = (queue_at(database.url, tmp_path, schema=schema, project=name) for name in ("shop", "billing"))
    with shop.open_target():
        pass
    with pytest.raises(WrongProject, match="belongs to the project shop, and this is billing") as refused:
        billing.migrate()
    assert f"UPDATE {schema}.meta SET project = 'billing'" in str(refused.value.hint)
    with pytest.raises(WrongProject), billing.open_target():
        pass
    with pytest.raises(WrongProject):
        billing.open_offline("disk", HandClock()).list_schedules()
    assert database.execute("SELECT project FROM meta", schema=schema) == [("shop",)]
    assert (
        queue_at(database.url, tmp_path, schema=schema).migrate().applied == ()
    )  # without a name, it is no project of its own


def test_two_projects_that_open_a_new_queue_at_once_do_not_share_it(database: Database, schema: str, tmp_path: Path) -> None:
    def opened(project: str) -> None:
        with queue_at(database.url, tmp_path, schema=schema, project=project).open_target():
            pass

    (refused,) = at_once(lambda: opened("shop"), lambda: opened("billing"))
    assert isinstance(refused, WrongProject)


@pytest.mark.parametrize("table", ["orders (id int)", "meta (key text)"])
def test_a_foreign_schema_is_refused_and_left_alone(queue: Queue, database: Database, schema: str, table: str) -> None:
    database.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table}")
    with pytest.raises(StoreDamaged, match=f"the schema {schema} has tables, but no queue of tako-lite"):
        queue.migrate()
    assert len(database.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", schema)) == 1


def test_an_empty_schema_that_somebody_made_is_used(queue: Queue, database: Database, schema: str) -> None:
    database.execute(f"CREATE SCHEMA {schema}")
    assert queue.migrate().after == NEWEST


def test_a_role_that_may_not_create_the_schema_gets_the_ways_to_do_it(
    database: Database, schema: str, user: str, tmp_path: Path
) -> None:
    theirs = as_user(database, user)
    name = urlsplit(database.url).path[1:]
    with pytest.raises(StoreError, match=f"the role {user} may not create the schema {schema}") as refused:
        queue_at(theirs.url, tmp_path, schema=schema).migrate()
    statement = f'GRANT CREATE ON DATABASE "{name}" TO "{user}"'
    assert "tako-lite migrate --sql | psql" in str(refused.value.hint)
    assert statement in str(refused.value.hint)
    database.execute(statement)
    assert queue_at(theirs.url, tmp_path, schema=schema).migrate().after == NEWEST


def test_the_printed_script_makes_three_roles_with_the_least_rights(
    database: Database, schema: str, user: str, tmp_path: Path
) -> None:
    theirs = as_user(database, user)
    queue = queue_at(theirs.url, tmp_path, schema=schema)
    psql(database, queue.migration_script())
    with pytest.raises(TakoError, match=f"the role {user} may not use the queue") as refused:
        queue.migrate()
    assert f'GRANT tako TO "{user}"' in str(refused.value.hint)

    database.execute(f'GRANT tako_enqueue TO "{user}"')
    assert theirs.execute("SELECT count(*) FROM runs", schema=schema) == [(0,)]
    for statement in ("DELETE FROM runs", "SELECT 1 FROM steps", "UPDATE meta SET version = 1"):
        with pytest.raises(Exception, match="permission denied"):
            theirs.execute(statement, schema=schema)

    database.execute(f"REVOKE tako_enqueue FROM {user}; CREATE ROLE member_{user}; GRANT tako TO {user}")
    assert queue.migrate() == Migrated(NEWEST, NEWEST, ())
    with queue.open_target() as target:
        assert target.count("runs") == 0
    with pytest.raises(Exception, match="must be owner"):
        theirs.execute("DROP TABLE steps", schema=schema)
    database.execute(f"DROP ROLE member_{user}")


def test_a_member_of_the_owner_migrates_for_it_and_new_tables_are_open_to_the_others(
    database: Database, schema: str, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queue_at(as_user(database, user).url, tmp_path, schema=schema)
    psql(database, queue.migration_script())
    database.execute(f"GRANT tako TO {user}")
    with_migrations(monkeypatch, "CREATE TABLE more ()")
    with pytest.raises(StoreError, match=rf"may not upgrade the schema {schema} from {NEWEST}") as refused:
        queue.migrate()
    assert f'GRANT tako_owner TO "{user}"' in str(refused.value.hint)
    database.execute(f"GRANT tako_owner TO {user}")
    assert queue.migrate().after == NEWEST + 1
    question = "SELECT tableowner, has_table_privilege('tako', 'more', 'DELETE') FROM pg_tables WHERE tablename = 'more'"
    assert database.execute(question, schema=schema) == [("tako_owner", True)]


def test_the_script_says_the_rest_of_a_schema_and_can_be_run_again(
    queue: Queue, database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.migrate()
    with_migrations(monkeypatch, "CREATE TABLE more ();")
    monkeypatch.setattr("tako_lite.store.postgres.script.known", module.known)
    for _ in range(2):
        text = queue.migration_script()
        assert "CREATE TABLE runs" not in text
        psql(database, text)
        assert version(database, schema) == NEWEST + 1
    assert "CREATE TABLE more" not in text


def test_without_an_answer_the_whole_script_is_printed(database: Database, schema: str, tmp_path: Path) -> None:
    nowhere = queue_at("postgresql://127.0.0.1:1/app", tmp_path, schema=schema).migration_script()
    first, _, rest = nowhere.partition("\n")
    assert first.startswith(f"-- For a database without the schema {schema}, as this one could not be asked: ")
    assert rest == script(schema)
    psql(database, nowhere)
    assert version(database, schema) == NEWEST


def psql(database: Database, text: str) -> None:
    """Run a script as an administrator does."""
    program = binaries() / "psql"
    command = [str(program if program.exists() else "psql"), "-q", "-v", "ON_ERROR_STOP=1", database.url]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env={**os.environ, "PGOPTIONS": ""})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
