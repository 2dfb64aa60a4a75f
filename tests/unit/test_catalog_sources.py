"""Workflow files as they are on disk: encodings, marks and line ends that Python reads, and those that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako_lite.catalog import Catalog, scan
from tako_lite.config import load
from tako_lite.errors import CatalogError, Mistake

TEXT = 'from tako_lite import workflow\n@workflow("a")\ndef a(payload): ...\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    return tmp_path / "workflows"


def scanned(folder: Path) -> Catalog:
    return scan(folder, folder.parent)


def only_mistake(folder: Path) -> Mistake:
    with pytest.raises(CatalogError) as caught:
        scanned(folder)
    (mistake,) = caught.value.mistakes
    return mistake


@pytest.mark.parametrize(
    "raw",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        f"# -*- coding: latin-1 -*-\n# caf\xe9\n{TEXT}".encode("latin-1"),
        f"#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\n# \u20ac\n{TEXT}".encode("cp1252"),
        f"# -*- coding: utf-8 -*-\n# \u20ac\n{TEXT}".encode(),
        f"# -*- coding: utf-8 -*-\n{TEXT}".encode("utf-8-sig"),
    ],
)
def test_files_that_python_reads_are_read(folder: Path, raw: bytes) -> None:
    (folder / "a.py").write_bytes(raw)
    assert "a" in scanned(folder).workflows


@pytest.mark.parametrize(
    ("raw", "line", "message", "hint"),
    [
        (b"x = 1\n# caf\xe9\n", 2, "the file is not UTF-8", "save it as UTF-8"),
        (b"x = 1\n\n\n# caf\xe9\n", 4, "the file is not UTF-8", "save it as UTF-8"),
        ("x = 1".encode("utf-16"), 1, "the file is not UTF-8", "save it as UTF-8"),
        (b"# coding: ascii\n\n# caf\xe9\n", 3, "the file is not ascii", "which its first lines declare"),
        (b"# coding: klingon\n", 1, "not valid Python: unknown encoding", "declare the right encoding"),
        (b"x = 1\n\x00\n", 1, "null bytes", None),
        (b"def f(:\n", 1, "not valid Python", None),
        (b"def f(x, x): ...\n", 1, "duplicate argument 'x'", None),
        (b"return 1\n", 1, "'return' outside function", None),
        (b"def f():\n\tx = 1\n        y = 2\n", 3, "inconsistent use of tabs", None),
    ],
)
@pytest.mark.parametrize("name", ["helper.py", "deep/er/helper.py", "billing/__init__.py"])
def test_a_file_that_python_does_not_read_is_a_mistake_wherever_it_lies_in_the_folder(
    folder: Path, name: str, raw: bytes, line: int, message: str, hint: str | None
) -> None:
    (folder / "a.py").write_text(TEXT)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)
    found = only_mistake(folder)
    assert found.file == f"workflows/{name}"
    assert message in found.message
    assert "null" in message or found.line == line
    assert hint is None or hint in (found.hint or "")


@pytest.mark.parametrize("name", ["__pycache__/x.py", ".hidden.py", ".git/x.py", "notes.txt"])
def test_files_that_are_passed_over_may_hold_anything(folder: Path, name: str) -> None:
    (folder / "a.py").write_text(TEXT)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"def f(:\n\xff")
    assert list(scanned(folder).workflows) == ["a"]


def test_mistakes_come_in_the_order_of_the_files(folder: Path) -> None:
    (folder / "a.py").write_text(TEXT.replace("(payload)", "(payload, step, more)"))
    (folder / "b.py").write_text("def f(:\n")
    (folder / "c.py").write_text(TEXT.replace('"a"', '"a b"'))
    with pytest.raises(CatalogError) as caught:
        scanned(folder)
    assert [mistake.file for mistake in caught.value.mistakes] == ["workflows/a.py", "workflows/b.py", "workflows/c.py"]


def test_a_tako_toml_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tako.toml"
    file.write_bytes(b'\xef\xbb\xbfname = "shop"\r\n\r\n[workflows.media]\r\nworkers = 2\r\n')
    config = load(file)
    assert (config.name, config.group("media").workers) == ("shop", 2)
