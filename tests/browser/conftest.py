"""A real browser. What it complains about (a refused script, a missing file, an exception) fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.fixtures import live, project
from tests.support.web_server import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.project import Project

__all__ = ["live", "project"]

CHROMIUM: Final = shutil.which("chromium")
ARGUMENTS: Final = (
    "--no-sandbox",  # continuous integration runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OpenPage = Callable[..., "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Without it the tests are skipped, unless REQUIRE_BROWSER is set."""
    if CHROMIUM is None:
        why = "chromium is not installed: apt-get install --no-install-recommends chromium fonts-dejavu-core"
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(live: Project) -> Iterator[WebServer]:
    """The dashboard of the live project, as `tako-lite web` serves it."""
    with WebServer(live) as made:
        yield made


@pytest.fixture
def open_page(browser: Browser, server: WebServer) -> Iterator[OpenPage]:
    """Opens pages that are signed in: `open_page(path, **options of the context)`."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda reply: complaints.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
        page.goto(server.sign_in)
        page.goto(server.url(path))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
