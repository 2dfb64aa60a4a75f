"""Cached bytecode of the project: used where it is of the text as it is, and nowhere else."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
from pathlib import Path
from py_compile import PycInvalidationMode as Mode

import pytest

from tako_lite.importing import ProjectLoader
from tako_lite.stamps import file_stamp


def load(file: Path) -> object:
    """What a module of one assignment assigns."""
    found: dict[str, object] = {}
    code = ProjectLoader("m", str(file)).get_code("m")
    assert code is not None
    exec(code, found)
    assert code.co_filename == str(file)
    return found["VALUE"]


def cache_of(file: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(file)))


def flags(file: Path) -> bytes:
    return cache_of(file).read_bytes()[4:8]


@pytest.fixture(autouse=True)
def _written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "m.py"
    made.write_text("VALUE = 1\n")
    return made


def edit_unseen(file: Path) -> None:
    """Change a file so that Python's own bytecode looks as if it were of the new text."""
    before = file.stat()
    file.write_text("VALUE = 2\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("mode", [None, *Mode])
def test_an_unseen_edit_is_seen_whatever_kind_of_bytecode_there_is(file: Path, mode: Mode | None) -> None:
    if mode is not None:
        py_compile.compile(str(file), invalidation_mode=mode)
    assert load(file) == 1
    edit_unseen(file)
    assert load(file) == 2
    assert flags(file) == b"\x03\0\0\0"


def test_bytecode_with_the_hash_of_the_text_is_used_and_stays(file: Path) -> None:
    load(file)
    before = file_stamp(cache_of(file))
    assert load(file) == 1
    assert file_stamp(cache_of(file)) == before


def test_bytecode_that_was_written_well_after_the_last_change_is_used(file: Path) -> None:
    py_compile.compile(str(file), invalidation_mode=Mode.TIMESTAMP)
    later = file.stat().st_mtime + 60
    os.utime(cache_of(file), (later, later))
    before = file_stamp(cache_of(file))
    assert load(file) == 1
    assert file_stamp(cache_of(file)) == before


def test_bytecode_of_another_folder_has_the_names_of_this_one(file: Path, tmp_path: Path) -> None:
    load(file)
    moved = tmp_path / "moved" / "m.py"
    cache_of(moved).parent.mkdir(parents=True)
    moved.write_text(file.read_text())
    cache_of(moved).write_bytes(cache_of(file).read_bytes())
    assert load(moved) == 1


def test_nothing_is_written_where_that_is_not_wanted_or_not_possible(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert load(file) == 1
    assert not cache_of(file).exists()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cache_of(file).parent.write_text("a file, not a folder")
    assert load(file) == 1


def test_the_folder_of_pycache_prefix_is_used(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    assert load(file) == 1
    assert list((tmp_path / "elsewhere").rglob("m.*.pyc"))
    assert not (tmp_path / "__pycache__").exists()


def test_a_mistake_in_a_file_comes_as_the_syntax_error_that_it_is(file: Path) -> None:
    file.write_text("VALUE =\n")
    with pytest.raises(SyntaxError):
        load(file)


def test_broken_bytecode_is_replaced(file: Path) -> None:
    load(file)
    cache_of(file).write_bytes(b"rubbish")
    assert load(file) == 1
    assert flags(file) == b"\x03\0\0\0"
