"""The rush: sixty photographs arrive, then twenty customers ask for a new password."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from statistics import median, quantiles

from examples.shop.mailbox import Mailbox
from examples.shop.running import RunningShop
from tako_lite.errors import WaitTimeout

PHOTOS = ("photos/astronaut.jpg", "photos/coffee.jpg", "photos/rocket.jpg")
IMAGES = 60
MAILS = 20
INTERVAL = 0.1
PATIENCE = 21.0
"""Seconds after which the remaining images are cancelled, so that the demo takes at most two minutes on any machine."""


@dataclass(frozen=True)
class Outcome:
    """The result of a rush. `latencies` has the seconds of each mail from the enqueue call to the server's "250 OK"."""

    latencies: Sequence[float]
    images: int
    seconds: float
    image_seconds: float = 0.0
    """The median processing time of an image."""

    @property
    def percentiles(self) -> tuple[float, float, float]:
        """The median, the 99th percentile and the maximum of the latencies."""
        cuts = quantiles(self.latencies, n=100, method="inclusive")
        return cuts[49], cuts[98], max(self.latencies)


def rush(shop: RunningShop, mailbox: Mailbox, worker: str | None = None) -> Outcome:
    """Enqueue the images, then the mails one by one, and wait for all; `worker` overrides the group of the decorators."""
    started = time.monotonic()
    images = enqueue_images(shop, worker)
    asked = enqueue_mails(shop, worker)
    lengths = finish_images(shop, images, started + PATIENCE)
    seconds = time.monotonic() - started
    if not mailbox.wait_for(asked, timeout=10):
        raise SystemExit(f"of {MAILS} mails, {len(asked.keys() - mailbox.arrivals.keys())} did not arrive")
    latencies = [mailbox.arrivals[mail] - moment for mail, moment in asked.items()]
    return Outcome(latencies, len(lengths), seconds, median(lengths) if lengths else 0.0)


def enqueue_images(shop: RunningShop, worker: str | None) -> list[str]:
    photos = islice(cycle(PHOTOS), IMAGES)
    payloads = [{"file": photo, "folder": f"public/{number:02}"} for number, photo in enumerate(photos)]
    return shop.client.enqueue_many("pictures", payloads, worker=worker)


def enqueue_mails(shop: RunningShop, worker: str | None) -> dict[str, float]:
    """Enqueue one mail every 100 ms; returns the time of each enqueue call by run id, which is also the id of the mail."""
    asked: dict[str, float] = {}
    first = time.monotonic()
    for number in range(MAILS):
        time.sleep(max(0.0, first + number * INTERVAL - time.monotonic()))
        moment = time.monotonic()
        run = shop.client.enqueue("password-reset", {"address": f"customer-{number}@shop.example"}, worker=worker)
        asked[run.id] = moment
    return asked


def finish_images(shop: RunningShop, images: Sequence[str], limit: float) -> list[float]:
    """Wait for the images until `limit` and cancel the rest; returns the seconds that each finished image took."""
    try:
        for image in images:
            shop.client.wait(image, timeout=max(0.0, limit - time.monotonic()))
    except WaitTimeout:
        shop.client.cancel(*images)
    done = [run for run in map(shop.client.get, images) if run["state"] == "succeeded"]
    return [
        (datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])).total_seconds() for run in done
    ]
