"""Named SQL blocks."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest

from tako_lite import store
from tako_lite.store.migrate import migrate
from tako_lite.store.sql import load
from tako_lite.store.sqlite import queries

PACKAGE = "tako_lite.store.sqlite"
FILES = ("runs", "schedules", "signals", "steps", "limits", "triggers", "rescue")
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
    f"{file}.{name}": statement.format(**ANY_TABLE) if file == "rescue" else statement
    for file in FILES
    for name, statement in vars(getattr(queries, file)).items()
}


def test_every_file_of_statements_is_loaded() -> None:
    assert {entry.name for entry in (files(PACKAGE) / "queries").iterdir() if entry.name.endswith(".sql")} == {
        f"{name}.sql" for name in FILES
    }


@pytest.mark.parametrize("file", FILES)
def test_every_named_block_is_an_attribute_and_named_once(file: str) -> None:
    names = re.findall(r"^-- name: (\w+)$", TEXTS[file], re.MULTILINE)
    assert names
    assert len(set(names)) == len(names)
    assert set(vars(load(PACKAGE, file))) == set(names)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_starts_with_a_sentence(name: str) -> None:
    comment, *_ = BLOCKS[name].split("\n")
    assert re.fullmatch(r"-- [A-Z].*[a-z)]\.", comment)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_one_statement_that_the_schema_understands(name: str) -> None:
    statement = BLOCKS[name]
    assert not statement.endswith(";")
    assert sqlite3.complete_statement(f"{statement};")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, PACKAGE)
    connection.execute(f"PRAGMA writable_schema = {int(name == 'rescue.graft')}")
    named = dict.fromkeys(re.findall(r":(\w+)", statement))
    numbers = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    values = named or (None,) * max(numbers, default=statement.count("?"))
    connection.execute(f"EXPLAIN {statement}", values).fetchall()
    connection.close()


def test_every_block_is_used() -> None:
    folder = Path(str(store.__file__)).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    unused = [name for name in BLOCKS if not re.search(rf"sql\.{name.partition('.')[2]}\b|queries\.{name}\b", code)]
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
