"""No hot statement of PostgreSQL reads a whole table, whatever the statistics say: they are always those of another moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import postgres_address
from tako_lite.store.postgres.connection import Connection, connect, writer_settings
from tako_lite.store.postgres.migrate import migrate
from tako_lite.store.sql import Statement
from tests.support.postgres import Database

pytestmark = pytest.mark.postgres

STATEMENTS: Final = {
    f"{file}.{name}": statement
    for file, statements in vars(queries).items()
    if file != "filters" and hasattr(statements, "__dict__")
    for name, statement in vars(statements).items()
    if isinstance(statement, Statement)
}
WHOLE: Final = {"limits.drop_starts_of_others", "runs.count_queued_by_workflow", "runs.select"}
"""What a start or a person asks for may read all that there is."""
BY_ID: Final = "runs_(pkey|running)"
HOT: Final = {
    "runs.claim": "runs_ready",
    "runs.complete": BY_ID,
    "runs.reschedule": BY_ID,
    "runs.finish": BY_ID,
    "runs.requeue": BY_ID,
    "runs.charge_crash": BY_ID,
    "runs.is_claimed": BY_ID,
    "runs.park": BY_ID,
    "runs.wake": BY_ID,
    "runs.cancel": BY_ID,
    "runs.mark_due": "runs_later",
    "runs.find_by_unique_key": "runs_unique_key",
    "steps.find": "steps_pkey",
    "steps.select_for_worker": "steps_pkey",
    "steps.find_wait": "waits_pkey",
    "steps.select_waits_for": "waits_key",
    "steps.select_due_waits": "waits_due",
}
PARTIAL: Final = {
    "runs.next_due": "runs_later",
    "runs.select_orphans": "runs_running",
    "servers.groups_with_work": "runs_ready",
    "servers.select_own": "runs_running",
    "servers.select_cancelling": "runs_running",
}
"""These may read all of an index that has few runs in it, or one group after the other."""
FILLED: Final = """
    INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, max_attempts, created_at,
        finished_at, boot_id, payload)
    SELECT lpad(n::text, 36, '0'), 'w' || n % 5, 'g' || n % 3, 'default',
        (ARRAY['pending', 'running', 'waiting', 'succeeded'])[1 + n % 4], n % 8 < 4, n, n, 3, n,
        CASE WHEN n % 4 = 3 THEN n END, 'boot-' || n % 2, '{}'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO steps (run_id, name, kind, state, result, attempts, started_at, finished_at)
    SELECT id, 'a', 'run', 'succeeded', '1', 1, 0, 0 FROM runs;
    INSERT INTO waits (run_id, name, kind, key, wake_at, started_at)
    SELECT id, 'w', 'signal', 'event-' || id, NULL, 0 FROM runs WHERE state = 'waiting'
"""


@pytest.fixture(params=["none", "of empty tables", "of full tables", "of empty tables that are full now"], scope="module")
def writer(request: pytest.FixtureRequest, database: Database) -> Iterator[Connection]:
    """A connection with the settings of the one that writes, to tables with such statistics."""
    schema = f"plans_{re.sub('[^a-z]', '_', request.param)}"
    address = postgres_address(database.url, schema=schema)
    with closing(connect(address, "writer", writer_settings("disk"))) as connection:
        migrate(connection, address)
        if request.param == "of full tables":
            connection.execute(FILLED.encode(), prepare=False)
        if request.param != "none":
            for table in ("runs", "steps", "waits", "groups", "servers", "signals", "attempts"):
                connection.execute(f"ANALYZE {table}".encode(), prepare=False)
        if request.param == "of empty tables that are full now":
            connection.execute(FILLED.encode(), prepare=False)
        yield connection
    database.drop_schema(schema)


def plan(connection: Connection, statement: Statement) -> str:
    """The generic plan of a statement."""
    numbers = {name: f"${number}" for number, name in enumerate(statement.parameters, 1)}
    text = re.sub(r"--[^\n]*|'[^']*'|(?<![:\w]):([a-z_]\w*)", lambda found: numbers.get(found[1], found[0]), statement)
    values = f"({', '.join(['NULL'] * len(numbers))})" if numbers else ""
    connection.execute(f"PREPARE planned AS {text}".encode(), prepare=False)
    try:
        lines: list[tuple[Any, ...]] = connection.execute(
            f"EXPLAIN (COSTS OFF) EXECUTE planned{values}".encode(), prepare=False
        ).fetchall()
    finally:
        connection.execute("DEALLOCATE planned", prepare=False)
    return "\n".join(line for (line,) in lines)


def test_no_statement_but_those_of_people_reads_a_whole_table_of_runs(writer: Connection) -> None:
    tables = "runs|steps|waits|attempts|signals|starts|minutes|activity"
    found = {name: plan(writer, statement) for name, statement in STATEMENTS.items() if name not in WHOLE}
    assert [name for name, lines in found.items() if re.search(rf"Seq Scan on ({tables})", lines)] == []


@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_looks_its_rows_up_in_its_index(writer: Connection, name: str) -> None:
    lines = plan(writer, STATEMENTS[name])
    assert re.search(rf"(using|on) {HOT[name]}\b.*\n.*Index Cond", lines), lines
    assert not re.search("Hash|Merge|Seq Scan on runs", lines), lines


@pytest.mark.parametrize("name", PARTIAL)
def test_a_look_at_the_queue_reads_no_more_than_its_partial_index(writer: Connection, name: str) -> None:
    lines = plan(writer, STATEMENTS[name])
    assert re.search(rf"(using|on) {PARTIAL[name]}\b", lines), lines
    assert not re.search("Hash|Merge|Seq Scan on runs", lines), lines


def test_a_claim_takes_its_runs_in_the_order_of_the_index(writer: Connection) -> None:
    assert "Sort" not in plan(writer, STATEMENTS["runs.claim"])
