"""A real browser. What it complains about (a refused script, a missing file, an exception) fails the test.

All tests share one browser, and most of them one daemon whose queue has runs in every state, one dashboard and one open page.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.browser.hostile import HOSTILE
from tests.support.fixtures import live, project
from tests.support.project import Project, wait_until
from tests.support.teardown import tear_down
from tests.support.web_server import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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
WORKFLOWS: Final = """
import asyncio
from dataclasses import dataclass

@dataclass
class Order:
    number: int
    to: str = "ann"

@workflow("order", worker="io", retries=1, schedule="0 2 * * *")
async def order(order: Order, step: Step) -> dict:
    await step.run("reserve", abs, order.number)
    await step.wait_for(f"approval:{order.number}")
    return {"number": order.number}

@workflow("fails", retries=0)
async def fails(payload, step: Step) -> None:
    raise ValueError(payload)

@workflow("adds", retries=0)
async def adds(payload, step: Step) -> int:
    print("adding")
    return await step.run("sum", sum, payload)

@workflow("hostile", retries=0)
async def hostile(payload, step: Step) -> list:
    texts = payload["texts"]
    step.progress(0.5, texts[0])
    for text in texts:
        print(text)
        await step.run(text, str.upper, text)
    if payload["end"] == "wait":
        await step.wait_for(texts[0])
    if payload["end"] == "fail":
        raise type(texts[1], (Exception,), {})("\\n".join(texts))
    return texts
"""


class Shop(NamedTuple):
    """A project with a daemon, and the paths of pages that show its runs."""

    project: Project
    paths: dict[str, str]


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


@pytest.fixture
def expect(browser: Browser) -> Any:
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    return expect


@pytest.fixture(scope="session")
def shop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project with runs in every state, whose texts are hostile wherever a text is allowed."""
    made = Project(tmp_path_factory.mktemp("shop"))
    made.workflow("shop.py", WORKFLOWS)
    made.serve()
    made.run("adds", [1, 2])
    made.enqueue("adds", [3], delay="1d")
    ids = {
        end: made.enqueue("hostile", {"texts": HOSTILE, "end": end}, unique_key=f"{end} {HOSTILE[8]}")
        for end in ("wait", "fail", "return")
    }
    for start in range(0, len(HOSTILE), 4):  # so that lists show all of them, in few rows
        made.enqueue("fails", " ".join(HOSTILE[start : start + 4]))
    waits = made.enqueue("order", {"number": 7, "to": HOSTILE[0]})
    cancelled = made.enqueue("adds", [4], delay="1d")
    made.call("cancel", run_ids=[cancelled], by={"source": "web", "actor": HOSTILE[10]})
    made.call("signal", event=HOSTILE[12], payload=HOSTILE[12], by={"source": HOSTILE[11][:32], "actor": HOSTILE[10]})
    made.wait_for_state(ids["wait"], "waiting")
    made.wait_for_state(waits, "waiting")
    made.wait(ids["return"])
    error = made.wait(ids["fail"])["fingerprint"]
    wait_until(lambda: not made.call("ids", states=["running"])["ids"], "all runs have ended or wait")
    activity = made.call("activity", limit=1)["activity"][0]["id"]
    paths = {
        "overview": "/",
        "runs": "/runs",
        "dead": "/runs?state=dead",
        "search": "/runs?q=%3Cscript%3Ewindow.__xss%3D1%3C/script%3E",
        "no runs": "/runs?workflow=order&state=dead",
        "dead run": f"/runs/{ids['fail']}",
        "waiting run": f"/runs/{ids['wait']}",
        "succeeded run": f"/runs/{ids['return']}",
        "log": f"/runs/{ids['return']}/log",
        "order": f"/runs/{waits}",
        "groups": "/groups",
        "group": "/groups/io?range=8h",
        "workflows": "/workflows",
        "workflow": "/workflows/order",
        "enqueue": "/workflows/order/enqueue",
        "again": f"/workflows/hostile/enqueue?again={ids['return']}",
        "schedules": "/schedules",
        "schedule": "/schedules/order",
        "errors": "/errors",
        "attempts": "/errors?of=attempts",
        "error": f"/errors/{error}",
        "signals": "/signals",
        "activity": "/activity",
        "entry": f"/activity/{activity}",
        "system": "/system",
        "question": "/bulk/retry?filter=%7B%22text%22:%22%3Cb%3E%22%7D",
    }
    yield Shop(made, paths)
    tear_down(made)


@pytest.fixture(scope="session")
def shop_server(shop: Shop) -> Iterator[WebServer]:
    """The dashboard of the shop."""
    with WebServer(shop.project) as made:
        yield made


@pytest.fixture(scope="session")
def window(browser: Browser, shop_server: WebServer) -> Iterator[Page]:
    """A page that is signed in; tests open their address in it by `visit`."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(shop_server.sign_in)
    yield page
    context.close()


@pytest.fixture
def visit(window: Page, shop_server: WebServer) -> Iterator[Callable[[str], Page]]:
    """Opens an address of the shop in the page that all tests share."""
    complaints, forget = watched(window)

    def visited(path: str) -> Page:
        window.goto(shop_server.url(path))
        return window

    yield visited
    forget()
    assert complaints == []


@pytest.fixture(scope="module")
def server(live: Project) -> Iterator[WebServer]:
    """The dashboard of a project of the module's own, as `tako-lite web` serves it."""
    with WebServer(live) as made:
        yield made


@pytest.fixture
def open_page(browser: Browser, server: WebServer) -> Iterator[Callable[..., Page]]:
    """Opens pages of the module's own project that are signed in: `open_page(path, **options of the context)`."""
    contexts: list[Any] = []
    complaints: list[list[str]] = []

    def opened(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        found, _ = watched(page)
        complaints.append(found)
        page.goto(server.sign_in)
        page.goto(server.url(path))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for found in complaints for text in found] == []


def watched(page: Page) -> tuple[list[str], Callable[[], None]]:
    """What the browser complains about from now on, and how to stop watching."""
    found: list[str] = []

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning") and "ERR_INTERNET_DISCONNECTED" not in message.text:
            found.append(message.text)

    def on_error(error: Any) -> None:
        found.append(str(error))

    def on_reply(reply: Any) -> None:
        if reply.status >= 400:
            found.append(f"{reply.status} {reply.url}")

    listeners = (("console", on_console), ("pageerror", on_error), ("response", on_reply))
    for event, listener in listeners:
        page.on(event, listener)

    def forget() -> None:
        for event, listener in listeners:
            page.remove_listener(event, listener)

    return found, forget
