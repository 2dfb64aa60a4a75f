"""The plugin of tako-lite for pytest. It is a module of its own so that pytest starts without importing tako-lite."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tako_lite.testing import Tako, TestProject
    from tako_lite.testing.project import LoadedProject

KEY = pytest.StashKey["Tako"]()
guards = False
"""Whether clients may only use queues in the temporary folder, unless a `Tako` is open; `tako_lite.client.project` asks."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin, on the command line and in the ini file."""
    parser.addini("tako_config", "the tako.toml of the fixture `tako`, or its folder; relative to the ini file", default="")
    parser.addini("tako_mode", "the mode of the fixture `tako`: manual, inline or off", default="manual")
    parser.addini("tako_guard", "refuse to use a queue outside of the temporary folder", type="bool", default=True)
    group = parser.getgroup("tako-lite")
    group.addoption("--tako-keep", action="store_true", help="keep the queue of each failed test, and print how to look at it")


def pytest_configure(config: pytest.Config) -> None:
    """The marks of the plugin."""
    global guards
    guards = bool(config.getini("tako_guard"))
    config.addinivalue_line("markers", "tako(**options): options of the fixture `tako`, such as workflows=[…] and start=…")
    config.addinivalue_line(
        "markers", "tako_kill(workflow, payload, **options): one test for each point at which a worker can die"
    )


@pytest.fixture
def tako(request: pytest.FixtureRequest) -> Iterator[Tako]:
    """A daemon and its workers in the process of the test, with virtual time and a queue of its own."""
    from tako_lite.testing import fixtures

    with fixtures.tako(request, _config_file(request.config)) as made:
        request.node.stash[KEY] = made
        yield made


@pytest.fixture(scope="session")
def tako_session_project(request: pytest.FixtureRequest) -> LoadedProject:
    """The project as it was read for the first test: `config`, and `catalog` with its workflows. No file is read again."""
    from tako_lite.testing.project import load_project

    return load_project(_config_file(request.config) or ".", None, None)


@pytest.fixture
def tako_project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestProject]:
    """A real daemon with real workers, which serves a copy of the project in a temporary folder."""
    from tako_lite.testing import fixtures

    with fixtures.project(_config_file(request.config), tmp_path) as made:
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each point of `@pytest.mark.tako_kill`."""
    if (mark := metafunc.definition.get_closest_marker("tako_kill")) is not None:
        from tako_lite.testing import fixtures

        fixtures.parametrize_kill(metafunc, mark, _config_file(metafunc.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The section `tako-lite runs` of a failed test."""
    report: Any = yield
    item.tako_failed = getattr(item, "tako_failed", False) or report.failed  # type: ignore[attr-defined]
    if report.when == "call" and report.failed and (made := item.stash.get(KEY, None)) is not None:
        from tako_lite.testing import fixtures

        fixtures.explain(made, report, keep=item.config.getoption("--tako-keep"))
    return report


def _config_file(config: pytest.Config) -> Path | None:
    """The tako.toml, or its folder, that the ini file names."""
    named = config.getini("tako_config")
    return (config.inipath.parent if config.inipath else config.rootpath) / named if named else None
