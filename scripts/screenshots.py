"""Make the pictures of docs/dashboard: a project with runs in every state, its dashboard, and chromium.

Run it with `make screenshots` after the looks of a page changed.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tako_lite import Client
from tako_lite.clock import SystemClock
from tako_lite.config import load
from tako_lite.store.base import MinuteTotals

PICTURES: Final = Path(__file__).parents[1] / "docs" / "dashboard"
SIZE: Final = {"width": 1200, "height": 720}
COLOURS: Final = 96
"""Colours of a picture: as many as text and lines need, in a third of the bytes."""
MARGIN: Final = 1.5
"""Seconds after which a page has drawn its charts."""
CONFIG: Final = """
name = "shop"

[web]
auth = "none"

[workflows]
max_workers = 4

[workflows.media]
description = "pictures of products"
max_workers = 6
concurrency = 4

[workflows.email]
max_workers = 2

[workflows.reports]
"""
WORKFLOWS: Final = """
import asyncio
from tako_lite import Step, workflow

async def work(seconds): await asyncio.sleep(seconds)

async def charge(number):
    await asyncio.sleep(0.4)
    if number % 4 == 1:
        raise ConnectionError("the card service did not answer within 400 ms")

@workflow("order", retries=2)
async def order(payload, step: Step):
    number = payload["number"]
    await step.run("reserve", work, 0.3)
    await asyncio.gather(step.run("invoice", work, 0.8), step.run("packing list", work, 0.5))
    await step.sleep("cool off", 2)
    await step.run("charge", charge, number, retries=3)
    if number % 4 == 2:
        await step.wait_for(f"approval:{number}", timeout="2h")
    await step.invoke("confirm", "send-mail", {"to": payload["to"]})
    return {"number": number, "shipped": True}

@workflow("send-mail", worker="email")
async def send_mail(payload, step: Step):
    print(f"sending to {payload['to']}")
    await asyncio.sleep(0.3)
    return "250 OK"

@workflow("render", worker="media", retries=0)
async def render(payload, step: Step):
    await asyncio.sleep(payload.get("seconds", 0.5))
    if payload["picture"] % 9 == 7:
        raise ValueError(f"picture {payload['picture']} has no colour profile")
    return payload["picture"]

@workflow("nightly-report", worker="reports", schedule="0 2 * * *", timezone="Europe/Berlin")
async def nightly_report(payload, step: Step): ...
"""


def main() -> None:
    """Make every picture."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tako-screenshots-") as folder, _serving(Path(folder)) as address:
        run = _fill(Path(folder))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
            for name, path in _pages(run).items():
                page.goto(f"{address}{path}")
                for theme in ("light", "dark"):
                    _take(page, name, theme)
            browser.close()


def _pages(run: str) -> dict[str, str]:
    return {"overview": "/", "runs": "/runs", "run": f"/runs/{run}", "groups": "/groups", "errors": "/errors"}


def _take(page: Page, name: str, theme: Any) -> None:
    page.emulate_media(color_scheme=theme)
    page.wait_for_timeout(MARGIN * 1000)
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    file = PICTURES / f"{name}-{theme}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """The address of the dashboard of a new project, which a daemon serves meanwhile."""
    (folder / "workflows").mkdir()
    (folder / "tako.toml").write_text(CONFIG)
    (folder / "workflows" / "shop.py").write_text(WORKFLOWS)
    asyncio.run(_store_an_hour(folder))
    command = [sys.executable, "-m", "tako_lite", "-c", str(folder / "tako.toml")]
    environment = {**os.environ, "TAKO_SERVER": "worker-1"}
    daemon = subprocess.Popen([*command, "serve"], env=environment, stderr=subprocess.DEVNULL)
    web = subprocess.Popen([*command, "web", "--listen", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert web.stdout is not None
        line = web.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http")).partition("?")[0].rstrip("/")
    finally:
        for process in (web, daemon):
            process.terminate()
            process.wait()


async def _store_an_hour(folder: Path) -> None:
    """Store what happened in the last hour, for the charts."""
    clock = SystemClock()
    store = load(folder).queue.location.open("process", clock, "worker-1", "boot", lambda _: None)
    await store.start()
    now = clock.now() // 60_000
    await store.record_minutes([_minute(now - ago, ago) for ago in range(1, 60)])
    await store.stop()


def _minute(number: int, ago: int) -> MinuteTotals:
    runs = round(40 + 25 * math.sin(ago / 7) + ago * 7 % 11)
    dead = 3 if ago in (21, 22, 23) else int(ago % 17 == 0)
    waited = (runs // 2, runs // 4, runs // 8, runs // 8, 2, 1 + ago % 3)
    executed = (0, 0, 2, runs // 3, runs // 3, 4, 1 + ago % 4)
    totals = (runs, runs - dead, dead, dead, int(ago % 13 == 0), runs * 30, runs * 400)
    return MinuteTotals(number, "media", "render", *totals, waited, executed)


def _fill(folder: Path) -> str:
    """Enqueue runs that end up in every state; returns the id of one that has tries, waits and a child."""
    with Client(folder / "tako.toml") as client:
        for picture in range(30):
            client.enqueue("render", {"picture": picture})
        orders = [client.enqueue("order", {"number": number, "to": f"ann{number}@example.com"}) for number in range(1041, 1050)]
        client.enqueue("send-mail", {"to": "bob@example.com"}, delay="3h")
        client.cancel(client.enqueue("render", {"picture": 99}, delay="1h").id)
        time.sleep(20)  # the tries of a failed step need their pauses, and nothing tells when the picture looks best
        for number in range(1050, 1056):
            client.enqueue("render", {"picture": number, "seconds": 120})
            client.enqueue("order", {"number": number, "to": f"ann{number}@example.com"})
            client.enqueue("send-mail", {"to": f"news{number}@example.com"})
        time.sleep(4)
        return orders[0].id


if __name__ == "__main__":
    main()
