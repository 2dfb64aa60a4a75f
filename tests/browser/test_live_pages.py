"""Pages that stay current while they are open, whatever happens to the daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.project import Project

if TYPE_CHECKING:
    from playwright.sync_api import Page

WORKFLOW = """
@workflow("asks", retries=0)
async def asks(payload, step: Step):
    return await step.wait_for("answer")
"""


def test_an_open_run_shows_its_end_and_keeps_the_focus_and_a_half_typed_search(
    live: Project, open_page: Callable[..., Page], expect: Any
) -> None:
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
    expect(page.locator("#search")).to_be_focused()
    expect(page.locator("#summary")).to_have_text("asks succeeded. 0 runs running, 0 dead.", timeout=25_000)


def test_a_page_survives_its_daemon_and_shows_the_next_one(live: Project, open_page: Callable[..., Page], expect: Any) -> None:
    page = open_page("/groups")
    expect(page.locator("#daemon")).to_contain_text("serving")
    assert live.process is not None
    live.process.kill()
    live.process.wait()
    expect(page.locator("#daemon")).to_contain_text("not running", timeout=15_000)
    expect(page.locator("h1")).to_have_text("Groups")
    expect(page.locator("tr", has_text="default")).to_have_count(1)
    live.serve()
    expect(page.locator("#daemon")).to_contain_text("serving", timeout=10_000)


def test_a_page_says_that_the_dashboard_is_gone_and_stays(live: Project, open_page: Callable[..., Page], server: Any) -> None:
    from playwright.sync_api import expect

    page = open_page("/runs")
    page.context.set_offline(True)
    expect(page.locator("#banner")).to_contain_text("No connection since", timeout=15_000)
    expect(page.locator("h1")).to_have_text("Runs")
    page.context.set_offline(False)
    expect(page.locator("#banner")).to_be_hidden(timeout=20_000)
