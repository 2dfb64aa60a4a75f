"""Every page in both themes, on a screen and on a phone: no complaint, no script from data, nothing that axe calls serious."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from tests.browser.conftest import Shop
from tests.support.web_server import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = (
    "overview",
    "runs",
    "dead",
    "search",
    "no runs",
    "dead run",
    "waiting run",
    "succeeded run",
    "log",
    "order",
    "groups",
    "group",
    "workflows",
    "workflow",
    "enqueue",
    "again",
    "schedules",
    "schedule",
    "errors",
    "attempts",
    "error",
    "signals",
    "activity",
    "entry",
    "system",
    "question",
)
LOOKS = (("light", 1200), ("dark", 1200), ("dark", 390), ("light", 390))
AXE = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def test_the_pages_are_all_here(shop: Shop) -> None:
    assert set(shop.paths) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_sound_in_both_themes_and_on_a_phone(shop: Shop, visit: Callable[[str], Page], name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(shop.paths[name])
    page.evaluate(Axe().axe_script)
    for theme, width in LOOKS:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width} px"
        found = page.evaluate("options => axe.run(options)", AXE)["violations"]
        serious = [about(one) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], f"{name}, {theme}, {width} px"
    assert page.evaluate("() => window.__xss") is None
    assert page.evaluate("() => document.querySelectorAll('h1').length") == 1


def about(violation: dict[str, Any]) -> str:
    """What axe found, and where."""
    nodes = [f"{node['html'][:200]} {node['failureSummary'][:200]}" for node in violation["nodes"][:3]]
    return f"{violation['id']}: {nodes}"


def test_without_scripts_every_page_is_reached_and_a_group_is_paused(
    browser: Browser, shop: Shop, shop_server: WebServer, expect: Any
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(shop_server.sign_in)
    base = shop_server.url("/")
    seen, ahead = {base}, [shop_server.url(shop.paths["dead run"]), base]
    while ahead:
        reply = page.goto(ahead.pop())
        assert reply is not None
        assert reply.status == 200, page.url
        for link in re.findall(r'<a[^>]* href="([^"#]*)', page.content()):
            address = urljoin(base, html.unescape(link))
            if address.startswith(base) and _kind(address) not in map(_kind, seen):
                seen.add(address)
                ahead.append(address)
    assert {_kind(shop_server.url(path)) for path in shop.paths.values()} - {_kind(address) for address in seen} == set()
    page.goto(shop_server.url("/groups/io"))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1")).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1")).not_to_contain_text("paused")
    context.close()


def _kind(address: str) -> str:
    """The page of an address: runs, errors and so on count as one page each."""
    parts = address.partition("?")[0].split("/")[3:]
    return "/".join("*" if position == 1 and parts[0] != "bulk" else part for position, part in enumerate(parts))


def test_below_a_base_path_styles_and_scripts_are_found_too(browser: Browser, shop: Shop, expect: Any) -> None:
    with WebServer(shop.project, "--base-path", "/a/b") as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.sign_in)
        expect(page.locator("#nav a")).not_to_have_count(0)
        expect(page.locator("[data-control=theme]")).to_be_visible()
        assert page.evaluate("() => getComputedStyle(document.body).display") == "grid"
        page.get_by_role("link", name="Groups", exact=True).click()
        assert page.url.endswith("/a/b/groups")
        context.close()
