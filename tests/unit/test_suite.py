"""What the modules of this suite may import from each other, and the length of the names of tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def imported(file: Path) -> Iterator[str]:
    """The modules of the suite that a file imports, anywhere in it; each imported name counts as a module that it may be."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tests."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "tests":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_imports_from_a_test_module() -> None:
    found = [
        f"{file.relative_to(TESTS)} imports {name}"
        for file in sorted(TESTS.rglob("*.py"))
        for name in imported(file)
        if any(part.startswith("test_") for part in name.split("."))
    ]
    assert found == []


def test_the_support_package_imports_nothing_else_of_the_suite() -> None:
    found = [
        f"{file.name} imports {name}"
        for file in sorted((TESTS / "support").glob("*.py"))
        for name in imported(file)
        if name != "tests.support" and not name.startswith("tests.support.")
    ]
    assert found == []


def test_no_name_of_a_test_is_longer_than_90_characters() -> None:
    names = [name for file in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))]
    assert [name for name in names if len(name) > 90] == []
