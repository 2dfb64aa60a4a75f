"""What `doctor` finds about a database: each finding on a real one, and the judgement of what cannot be waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tako_lite.errors import StoreUnreachable
from tako_lite.finding import Finding
from tako_lite.store.copying import copy
from tako_lite.store.opening import QueueCheck, queue_at
from tako_lite.store.postgres import checks
from tako_lite.store.postgres.checks import DeadRows
from tako_lite.store.postgres.migrate import known
from tests.faults.postgres.pooler import pooler
from tests.support.postgres import Database, Server
from tests.support.project import wait_until
from tests.support.store_bench import HandClock

pytestmark = pytest.mark.postgres

NEWEST = known()[-1].number


class Clock(HandClock):
    """The clock of this machine, moved by some milliseconds."""

    def __init__(self, off: int = 0) -> None:
        super().__init__()
        self.off = off

    def now(self) -> int:
        from tako_lite.clock import SystemClock

        return SystemClock().now() + self.off


def findings(database: Database, schema: str, tmp_path: Path, clock: Clock | None = None) -> dict[str, Finding]:
    queue = queue_at(database.url, tmp_path, schema=schema)
    about = QueueCheck(False, False, clock or Clock(), lambda queued: ())
    return {found.check: found for _, check in queue.checks() for found in check(about)}


@pytest.fixture
def made(database: Database, schema: str, tmp_path: Path) -> str:
    """A schema with an empty queue."""
    queue_at(database.url, tmp_path, schema=schema).migrate()
    return schema


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.level for name, finding in found.items()}


def test_a_sound_database_has_no_problem(database: Database, made: str, tmp_path: Path) -> None:
    found = findings(database, made, tmp_path)
    assert {"database", "schema", "rights", "listen", "clock", "transactions", "connections"} <= found.keys()
    assert {name for name, level in levels(found).items() if level != "ok"} <= {"vacuum"}  # which the test's server has not
    assert f"up to date (version {NEWEST})" in found["schema"].message


def test_a_database_that_does_not_answer_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"the database postgresql://127\.0\.0\.1:1/app does not answer"):
        findings(Database("postgresql://127.0.0.1:1/app"), "tako", tmp_path)


def test_a_schema_that_does_not_exist_yet_is_made_by_those_who_may(
    database: Database, schema: str, tmp_path: Path, visitor: Database
) -> None:
    assert levels(findings(database, schema, tmp_path))["schema"] == "info"
    found = findings(visitor, schema, tmp_path)["schema"]
    assert (found.level, "tako-lite migrate --sql" in str(found.fix)) == ("problem", True)


@pytest.fixture
def visitor(database: Database, schema: str) -> Iterator[Database]:
    """The database as a user sees it that has no rights."""
    name, parts = f"visitor_{schema}", urlsplit(database.url)
    database.execute(f"CREATE ROLE {name} LOGIN")
    yield Database(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl())
    database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_missing_rights_are_named_with_the_statement_that_grants_them(
    database: Database, made: str, tmp_path: Path, visitor: Database
) -> None:
    user = f"visitor_{made}"
    database.execute(f"GRANT USAGE ON SCHEMA {made} TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA {made} TO {user}")
    found = findings(visitor, made, tmp_path)
    assert found["rights"].level == "problem"
    assert f"the role {user} lacks INSERT, UPDATE, DELETE on activity, and " in found["rights"].message
    assert found["rights"].fix == f'have the owner run: GRANT tako TO "{user}"'
    assert (found["transactions"].level, "sees only its own" in found["transactions"].message) == ("info", True)


def test_an_old_schema_and_another_project_are_told(database: Database, made: str, tmp_path: Path) -> None:
    database.execute("UPDATE meta SET schema_version = 0", schema=made)
    assert "has version 0 of an older release" in findings(database, made, tmp_path)["schema"].message
    database.execute(f"UPDATE meta SET schema_version = {NEWEST}, project = 'other'", schema=made)
    queue = queue_at(database.url, tmp_path, schema=made, project="mine")
    about = QueueCheck(False, False, Clock(), lambda queued: ())
    (found,) = [found for _, check in queue.checks() for found in check(about) if found.check == "schema"]
    assert (found.level, "belongs to the project other" in found.message) == ("problem", True)


def test_clocks_that_differ_are_a_warning(database: Database, made: str, tmp_path: Path) -> None:
    found = findings(database, made, tmp_path, Clock(off=-3_600_000))["clock"]
    assert (found.level, "the clock of the database is 1h ahead of that of this machine" in found.message) == ("warning", True)


def test_a_long_transaction_is_named(database: Database, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LONG_TRANSACTION", 0.0)
    with closing(psycopg.connect(database.url, application_name="reports")) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM pg_class")
        pid = other.info.backend_pid
        ours = f"reports (pid {pid}, idle in transaction) is open for"

        def found() -> Finding | None:
            """The finding, once no transaction of another test has been open for longer."""
            longest = findings(database, made, tmp_path)["transactions"]
            return longest if ours in longest.message else None

        longest = wait_until(found, "the longest transaction is ours")
    assert longest.level == "warning"
    assert longest.fix == f"SELECT pg_terminate_backend({pid}) ends it"


def test_a_pooler_in_front_is_noticed_and_the_way_around_it_is_tried(
    postgres: Server, database: Database, made: str, tmp_path: Path
) -> None:
    name = urlsplit(database.url).path[1:]
    with pooler(postgres, name) as url:
        found = findings(Database(url), made, tmp_path)
        assert (found["pooler"].level, "listen" in found) == ("warning", False)
        assert found["pooler"].fix == "set `listen_url` in [queue] to the database itself"
        queue = queue_at(url, tmp_path, schema=made, listen_url=database.url)
        about = QueueCheck(False, False, Clock(), lambda queued: ())
        around = {finding.check: finding.level for _, check in queue.checks() for finding in check(about)}
        assert (around["pooler"], around["listen"]) == ("ok", "ok")


def test_behind_a_pooler_a_queue_is_made_copied_and_backed_up(
    postgres: Server, database: Database, schema: str, tmp_path: Path
) -> None:
    with pooler(postgres, urlsplit(database.url).path[1:]) as url:
        queue, back = queue_at(url, tmp_path, schema=schema, project="shop"), queue_at("sqlite:///back.db", tmp_path)
        assert queue.migrate().applied
        with queue.open_source() as source, back.open_target() as target:
            copy(source, target)
        size = queue.open_offline("disk", Clock()).back_up(tmp_path / "backup.db")
        assert size == (tmp_path / "backup.db").stat().st_size
        with back.open_source() as source, queue.open_target() as target:
            copy(source, target)


def test_dead_rows_few_connections_and_a_late_standby_are_warnings() -> None:
    few, many = DeadRows("steps", 10, 5, 3.0), DeadRows("runs", 1_000, 3_000_000, None)
    (found,) = checks.judge_dead_rows([many, few], "tako")
    assert found.message == "runs has 3,000,000 dead rows beside 1,000 live ones; the last vacuum was never"
    assert str(found.fix).startswith("VACUUM tako.runs")
    assert [found.level for found in checks.judge_dead_rows([few], "tako")] == ["ok"]
    assert (checks.judge_connections(97, 90).level, checks.judge_connections(97, 20).level) == ("warning", "ok")
    assert "5m behind" in checks.judge_lag("db2", 300.0, "async").message
    assert "may lose the newest commits" in checks.judge_lag("db2", None, "async").message
    assert checks.judge_lag("db2", 0.1, "sync").message == "the synchronous standby db2 is up to date"
