"""Pages that stay current while they are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.project import Project

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORKFLOW = """
@workflow("asks", retries=0)
async def asks(payload, step: Step):
    return await step.wait_for("answer")
"""


def test_an_open_run_shows_its_end_without_a_reload(live: Project, open_page: Callable[..., Page]) -> None:
    from playwright.sync_api import expect

    live.add("asks.py", WORKFLOW)
    id = live.enqueue("asks")
    live.wait_for_state(id, "waiting")
    page = open_page(f"/runs/{id}")
    expect(page.locator("h1")).to_contain_text("waiting")
    page.fill("#search", "half a wor")
    live.call("signal", event="answer", payload=1)
    expect(page.locator("h1")).to_contain_text("succeeded", timeout=15_000)
    expect(page).to_have_title("asks succeeded · test")
    expect(page.locator("#search")).to_have_value("half a wor")
