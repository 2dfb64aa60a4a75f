"""The pages agree with the program: words, codes, layers, tables, links and examples."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import walk_packages
from typing import get_args

import pytest

import tako_lite
from tako_lite.cli.app import COMMANDS
from tako_lite.cli.main import BROKEN_PIPE
from tako_lite.errors import TakoError
from tako_lite.options import WorkflowOptions
from tako_lite.states import GroupState, RunState, WorkerState
from tests.support.pages import rows, section, words

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
SOURCES = sorted((ROOT / "tako_lite").rglob("*.py"))
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def error_classes(root: type[TakoError] = TakoError) -> Iterator[type[TakoError]]:
    """Every exception of the tree, also those that other modules add."""
    if root is TakoError:
        for module in walk_packages(tako_lite.__path__, "tako_lite."):
            if not module.name.endswith("__main__") and not module.name.startswith("tako_lite.ext."):
                import_module(module.name)
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


@cache
def nodes() -> list[ast.Call | ast.Dict]:
    """The calls and the dictionaries in the sources."""
    trees = [ast.parse(source.read_text(encoding="utf-8")) for source in SOURCES]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call | ast.Dict)]


def calls() -> Iterator[ast.Call]:
    return (node for node in nodes() if isinstance(node, ast.Call))


def literal(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keyword(call: ast.Call, name: str) -> str | None:
    return literal(next((given.value for given in call.keywords if given.arg == name), None))


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""


def test_every_error_type_is_documented_with_its_exit_code() -> None:
    classes = {error.__name__: error for error in error_classes() if not error.__name__.startswith("_")}
    expected = {error.type: error.exit_code for error in classes.values()}
    for call in calls():
        if called(call) in classes and (word := keyword(call, "type")):
            expected[word] = classes[called(call)].exit_code

    documented = {word: int(row[1]) for row in rows(section(OPERATIONS, "Errors")) for word in words(row[0])}

    assert documented == expected


def test_every_reason_is_documented() -> None:
    expected = {error.type for error in error_classes() if error.__name__ in ("BadInput", "NotJson", "TooLarge", "StepError")}
    for call in calls():
        if called(call) in ("Failure", "FailureFacts"):
            reason = keyword(call, "reason") or literal(call.args[3] if len(call.args) > 3 else None)
            expected.update([reason] if reason else [])
    for node in nodes():
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            expected.update(text for key, value in pairs if literal(key) == "reason" and (text := literal(value)))

    documented = {word for row in rows(section(OPERATIONS, "Why a run ended")) for word in words(row[0])}

    assert documented == expected


def test_every_exit_code_is_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    documented = {int(row[0]) for row in rows(section(page, "Exit codes"))}

    assert documented == {0, BROKEN_PIPE, *(error.exit_code for error in error_classes())}


@pytest.mark.parametrize("state", sorted({*get_args(RunState), *get_args(GroupState), *get_args(WorkerState)}))
def test_every_state_is_documented(state: str) -> None:
    assert f"`{state}`" in section(OPERATIONS, "States")


@pytest.mark.parametrize("option", WorkflowOptions._fields)
def test_every_option_of_a_workflow_has_a_row(option: str) -> None:
    page = (ROOT / "docs/workflows.md").read_text(encoding="utf-8")

    assert option in [word for row in rows(section(page, "`@workflow`")) for word in words(row[0])]


def test_the_changelog_names_every_command() -> None:
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert [name for name in COMMANDS if f"`{name}`" not in page] == []


def test_the_layers_in_architecture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    checked = [[name.strip().removeprefix("tako_lite.") for name in layer.split("|")] for layer in layers]

    assert [words(row[0]) for row in rows(section(ARCHITECTURE, "Layers"))] == checked


def test_the_tables_in_architecture_are_those_of_the_schema() -> None:
    scripts = sorted((ROOT / "tako_lite/store/sqlite/migrations").glob("*.sql"))
    schema = "\n".join(script.read_text(encoding="utf-8") for script in scripts)

    assert [words(row[0]) for row in rows(section(ARCHITECTURE, "The store"))] == [
        [table] for table in dict.fromkeys(re.findall(r"^CREATE TABLE (\w+)", schema, re.MULTILINE))
    ]  # fmt: skip


def test_files_that_architecture_names_exist() -> None:
    named = {word for word in words(ARCHITECTURE) if re.fullmatch(r"[\w/]+\.py|[\w/]+/", word)}
    places = (ROOT / "tako_lite", ROOT / "tako_lite/store/sqlite")
    elsewhere = {"tako_lite/", "testing.py"}

    assert {name for name in named - elsewhere if not any((place / name).exists() for place in places)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(re.sub(_BLOCK, "", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name)
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    text = re.sub(_BLOCK, "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_in_python_and_toml_can_be_read(page: Path) -> None:
    for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            alone = text.splitlines()[-1].startswith("@")  # a decorator, shown without its function
            compile(text + "def _(): ..." * alone, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        elif language == "toml":
            tomllib.loads(text)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    named = set(chain.from_iterable(re.findall(r"(?:`|^ {4}|^)make ([a-z-]+)", text, re.MULTILINE) for text in texts))

    assert {"test", "demo", "binary"} <= named <= targets
