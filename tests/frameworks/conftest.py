"""The integrations with web frameworks, which `make test-frameworks` installs.

Each module skips itself where its framework is missing, so that the rest of the suite needs none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import live, project

__all__ = ["live", "project"]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where these tests are not chosen, their modules are not imported either: that takes seconds."""
    chosen = config.getoption("markexpr").replace("not frameworks", "")
    return None if "frameworks" in chosen else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.frameworks)
            item.add_marker(pytest.mark.timeout(300))  # the first one of a module may start several frameworks
