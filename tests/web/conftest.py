"""A project with a daemon, runs of every kind, and its dashboard; all tests of a module share them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fixtures import live, project
from tests.support.project import Project
from tests.support.web import Dashboard, dashboard_of

__all__ = ["live", "project"]

WORKFLOWS = """
from dataclasses import dataclass

@dataclass
class Order:
    number: int
    to: str = "ann"

@workflow("order", worker="io", retries=1)
async def order(order: Order, step: Step) -> dict:
    await step.run("reserve", abs, order.number)
    await step.wait_for(f"approval:{order.number}")
    return {"number": order.number}

@workflow("fails", retries=0)
async def fails(payload, step: Step) -> None:
    raise ValueError(f"no <b>{payload}</b>")

@workflow("adds", retries=0)
async def adds(payload, step: Step) -> int:
    print("adding")
    return await step.run("sum", sum, payload)
"""


@pytest.fixture(scope="module")
def shop(live: Project) -> Project:
    """The live project with a run that waits, one that is dead, one that succeeded and one that is due tomorrow."""
    live.add("shop.py", WORKFLOWS)
    live.run("adds", [1, 2])
    live.run("fails", "<script>")
    live.enqueue("adds", [3], delay="1d")
    live.wait_for_state(live.enqueue("order", {"number": 7, "to": "bob"}), "waiting")
    return live


@pytest.fixture(scope="module")
def web(shop: Project) -> Iterator[Dashboard]:
    """The dashboard of the shop."""
    with dashboard_of(shop.root) as made:
        yield made
