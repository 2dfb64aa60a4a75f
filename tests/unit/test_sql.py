"""Named SQL blocks."""

from __future__ import annotations

import ast
import dataclasses
import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest

from tako_lite import records, store
from tako_lite.states import HAS, RunState
from tako_lite.store import base
from tako_lite.store.migrate import migrate
from tako_lite.store.postgres import queries as postgres
from tako_lite.store.sql import Statement, load
from tako_lite.store.sqlite import queries
from tako_lite.store.transitions import rows

PACKAGE = "tako_lite.store.sqlite"
STORE = Path(str(store.__file__)).parent
FILES = (
    "activity",
    "attempts",
    "code",
    "edits",
    "failures",
    "groups",
    "limits",
    "minutes",
    "rescue",
    "runs",
    "schedules",
    "signals",
    "steps",
    "triggers",
)
TEXTS = {name: (files(PACKAGE) / "queries" / f"{name}.sql").read_text(encoding="utf-8") for name in FILES}
ANY_TABLE = {
    "table": "runs",
    "key": "id",
    "columns": "id",
    "wanted": "id",
    "marks": "?",
    "way": "",
    "bounds": "1",
    "order": "1",
    "limit": 1,
}
"""What the statements of a rescue, which are for any table, may be filled with."""
BLOCKS = {
    f"{file}.{name}": Statement(statement.format(**ANY_TABLE)) if file == "rescue" else statement
    for file in FILES
    for name, statement in vars(getattr(queries, file)).items()
}


def test_every_file_of_statements_is_loaded() -> None:
    assert {entry.name for entry in (files(PACKAGE) / "queries").iterdir() if entry.name.endswith(".sql")} == {
        f"{name}.sql" for name in (*FILES, "filters")
    }


def test_filters_are_conditions_by_the_fields_of_a_filter_on_every_backend() -> None:
    has = {f"has_{word}" for word in HAS}
    fields = {field.name for field in dataclasses.fields(base.RunFilter)} - {"states", "has", "without"} | {"shown", "state"}
    states = {f"in_{state}" for state in get_args(RunState)}
    assert set(vars(queries.filters)) == set(vars(postgres.filters)) == fields | states | has


def test_every_statement_of_a_transition_is_there_on_every_backend() -> None:
    ours = {block for block in BLOCKS if not block.startswith("rescue.")}
    theirs = {f"{file}.{name}" for file in FILES if file != "rescue" for name in vars(getattr(postgres, file))}
    assert ours == theirs


def test_a_statement_has_the_same_parameters_on_every_backend_but_for_those_of_servers() -> None:
    constants = {"boot_id", "server", "elsewhere", "lowest", "first", "workflows", "cron", "timezone"}
    for name, statement in BLOCKS.items():
        file, _, block = name.partition(".")
        other = statement if file == "rescue" else getattr(getattr(postgres, file), block)
        if not any("WHERE false" in text for text in (statement, other)):  # what one of them has no need for
            assert set(other.parameters) - constants == set(statement.parameters) - constants, name


@pytest.mark.parametrize("file", FILES)
def test_every_named_block_is_an_attribute_and_named_once(file: str) -> None:
    names = re.findall(r"^-- name: (\w+)$", TEXTS[file], re.MULTILINE)
    assert names
    assert len(set(names)) == len(names)
    assert set(vars(load(PACKAGE, file))) == set(names)


def test_every_block_starts_with_a_sentence() -> None:
    sentence = re.compile(r"-- [A-Z].*[a-z)]\.")
    assert [name for name, block in BLOCKS.items() if not sentence.fullmatch(block.partition("\n")[0])] == []


@pytest.mark.parametrize("file", FILES)
def test_every_block_is_one_statement_that_the_schema_understands(file: str) -> None:
    connection = _migrated()
    for name, statement in BLOCKS.items():
        if name.partition(".")[0] == file:
            assert not statement.endswith(";"), name
            assert sqlite3.complete_statement(f"{statement};"), name
            connection.execute(f"PRAGMA writable_schema = {int(name == 'rescue.graft')}")
            values = dict.fromkeys(statement.parameters) or (None,) * statement.count("?")
            connection.execute(f"EXPLAIN {statement}", values).fetchall()
    connection.close()


def _migrated() -> sqlite3.Connection:
    """A connection to an empty queue, which is a copy: to migrate each takes twenty times as long."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(_newest())
    return connection


@cache
def _newest() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, PACKAGE)
        return connection.serialize()


def _reads() -> list[tuple[str, str, str]]:
    """Each call of `row` and `rows` in the store: its place, its row type and its statement, as they are written."""
    found = []
    for path in STORE.rglob("*.py"):
        if path.parent.name in ("rescue", "postgres"):
            continue  # the tables of any file, and those that only several servers have
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ("row", "rows"):
                kind, statement = call.args[:2]
                found.append((f"{path.name}:{call.lineno}", ast.unparse(kind), ast.unparse(statement)))
    return found


READS = [read for read in _reads() if read[2] != "statement"]
SHARED = {"statement": ["count_later_by_group", "count_running_by_group", "count_waiting_by_group", "count_dead_by_group"]}


@pytest.mark.parametrize(("place", "kind", "written"), READS, ids=[f"{place} {kind}" for place, kind, _ in READS])
def test_a_row_type_has_the_columns_of_its_statement(place: str, kind: str, written: str) -> None:
    row_type = getattr(rows, kind.removeprefix("rows."), None) or getattr(base, kind, None) or getattr(records, kind)
    assert row_type._fields == columns_of(_statement(place, written))


@pytest.mark.parametrize("name", SHARED["statement"])
def test_the_counts_by_group_have_one_shape(name: str) -> None:
    assert rows.GroupCount._fields == columns_of(getattr(queries.runs, name))


def _statement(place: str, written: str) -> Statement:
    """The statement of an expression such as `transaction.sql.runs.find`, also inside of `Statement(f"…")`."""
    names = re.findall(r"sql\.(?:(\w+)\.)?(\w+)", written)
    assert names, f"{place}: {written} names no statement"
    file, name = names[-1]
    if not file:  # `sql = transaction.sql.runs`
        source = next(path for path in STORE.rglob(place.partition(":")[0]))
        lines = source.read_text(encoding="utf-8").splitlines()[: int(place.partition(":")[2])]
        file = next(match[1] for line in reversed(lines) if (match := re.search(r"sql\b.* = \w+\.sql\.(\w+)", line)))
    return getattr(getattr(queries, file), name)


def columns_of(statement: Statement) -> tuple[str, ...]:
    """The names of the columns that a statement returns."""
    connection = _migrated()
    cursor = connection.execute(statement, dict.fromkeys(statement.parameters, 0))
    columns = tuple(column[0] for column in cursor.description)
    connection.close()
    return columns


def test_rows_that_a_statement_takes_have_its_parameters() -> None:
    taken = {
        "runs.insert": rows.InsertedRun,
        "runs.complete": rows.CompletedRun,
        "runs.add_large": rows.LargeValue,
        "runs.delete_steps": rows.DeletedRun,
        "runs.delete_large": rows.DeletedRun,
        "activity.put": rows.StoredActivity,
        "attempts.delete": rows.DeletedRun,
        "attempts.record_success": rows.SucceededAgain,
        "attempts.record_try": rows.StepTry,
        "minutes.put": rows.StoredMinute,
        "steps.save": base.SavedStep,
        "steps.delete_waits": rows.RunId,
        "limits.expect_start": rows.ExpectedStart,
        "limits.unclaim": rows.UnclaimedRun,
    }
    for name, row_type in taken.items():
        assert sorted(row_type._fields) == sorted(BLOCKS[name].parameters), name


def test_fields_that_are_not_the_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="are not the parameters"):
        Statement("SELECT :id, ':c' -- :d").bound(rows.UnclaimedRun)


def test_values_are_bound_in_the_order_of_the_statement() -> None:
    text, values = Statement("SELECT :held, :id, :held, ':c'").bound(rows.UnclaimedRun)
    assert text == "SELECT ?, ?, ?, ':c'"
    assert values is not None
    assert values(rows.UnclaimedRun("a", "limit")) == ("limit", "a", "limit")
    assert Statement("SELECT :id, :held").bound(rows.UnclaimedRun) == ("SELECT ?, ?", None)
    assert Statement("SELECT :run_id").bound(rows.RunId) == ("SELECT ?", None)


def test_every_block_is_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in STORE.rglob("*.py"))
    unused = [name for name in BLOCKS if not re.search(rf"\bsql\.({name}|{name.partition('.')[2]})\b|queries\.{name}\b", code)]
    assert unused == []


def test_blocks_are_cut_at_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "block_cutting"
    (package / "queries").mkdir(parents=True)
    (package / "__init__.py").touch()
    text = "-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\nSELECT ':x';\n"
    (package / "queries" / "all.sql").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert vars(load("block_cutting", "all")) == {
        "one": "-- The first.\nSELECT 1",
        "two": "-- The second.\nSELECT ':x'",
    }
