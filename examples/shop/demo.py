"""The shop in a rush, first with groups and then without: how long does a password-reset mail take?

Run it with `make demo`. It starts a real SMTP server and two daemons, one after the other, in temporary folders, and
leaves nothing behind. It needs two cores and takes one to two minutes.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from examples.shop.mailbox import Mailbox
from examples.shop.running import RunningShop
from examples.shop.rush import IMAGES, INTERVAL, MAILS, PATIENCE, Outcome, rush
from examples.shop.screen import Screen
from tako_lite.errors import TakoError
from tako_lite.tui.status import status_view


def main() -> int:
    """Run the demo; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console()
    try:
        with TemporaryDirectory(prefix="tako-shop-") as folder, Mailbox() as mailbox:
            grouped, mixed = compare(console, Path(folder), mailbox)
    except KeyboardInterrupt:
        console.print("interrupted; all processes of the demo have ended")
        return 130
    except TakoError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    console.print(comparison(grouped, mixed))
    console.print(conclusion(grouped, mixed), highlight=False)
    return 0


def compare(console: Console, folder: Path, mailbox: Mailbox) -> tuple[Outcome, Outcome]:
    """Run the same rush with groups and in one group, each with three processes of one slot."""
    console.rule("1. groups: two processes for media, one for email", align="left")
    console.print(f"{IMAGES} photographs are enqueued, then {MAILS} password-reset mails, one every {INTERVAL:g} s")
    with RunningShop(folder / "groups", "tako.toml", mailbox.port) as shop:
        with Screen(console, shop.folder):
            grouped = rush(shop, mailbox)
        send_newsletter(console, shop, mailbox)
        write_report(console, shop)
    console.rule("2. one group: three processes for everything", align="left")
    with RunningShop(folder / "one-group", "one-group.toml", mailbox.port) as shop, Screen(console, shop.folder):
        mixed = rush(shop, mailbox, worker="default")
    return grouped, mixed


def send_newsletter(console: Console, shop: RunningShop, mailbox: Mailbox) -> None:
    """Show a run that waits for a person, and continues when a signal approves the issue."""
    subscribers = ["ann@shop.example", "bob@shop.example"]
    run = shop.client.enqueue("newsletter", {"number": 7, "text": "Coffee is back.\n", "subscribers": subscribers})
    limit = time.monotonic() + 5
    while shop.client.get(run.id)["state"] != "waiting" and time.monotonic() < limit:
        time.sleep(0.02)
    console.print(f"\nThe newsletter {run.id[-8:]} waits for its approval and holds no slot:")
    console.print(status_view(shop.client.status()))
    console.print("""$ tako-lite signal approval:newsletter-7 '{"by": "the editor"}'""", highlight=False)
    shop.client.signal("approval:newsletter-7", {"by": "the editor"})
    mails = [f"{run.id}.{index}" for index in range(len(subscribers))]
    if not mailbox.wait_for(mails, timeout=10):
        raise SystemExit("the newsletter's mails did not arrive")
    console.print(f"newsletter: {len(mails)} mails arrived")


def write_report(console: Console, shop: RunningShop) -> None:
    """Run the nightly report now."""
    run = shop.client.enqueue("nightly-report")
    report = shop.client.wait(run.id, timeout=10)["result"]
    console.print(f"nightly report: {report['pictures']} pictures, {report['bytes'] / 1e6:.1f} MB\n")


def comparison(grouped: Outcome, mixed: Outcome) -> Table:
    """Both outcomes side by side. The time of a mail runs from the enqueue call until the SMTP server accepts it; that of an
    image from its start to its end."""
    table = Table(title="How long a password-reset mail took while images were processed", title_justify="left")
    table.add_column()
    for heading in ("mails", "p50", "p99", "max", "images", "one image", "in all"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, outcome in (("groups", grouped), ("one group", mixed)):
        times = [duration(seconds) for seconds in outcome.percentiles]
        images = f"{outcome.images} of {IMAGES}"
        lengths = (duration(outcome.image_seconds), duration(outcome.seconds))
        table.add_row(label, str(len(outcome.latencies)), *times, images, *lengths)
    table.caption = "three processes of one slot each; with groups: media 2, email 1, so two images at a time instead of three"
    table.caption_justify = "left"
    return table


def conclusion(grouped: Outcome, mixed: Outcome) -> str:
    """Summarise the table, and say what cancelled images mean for it."""
    alone, behind = grouped.percentiles[0], mixed.percentiles[0]
    whole = grouped.images == mixed.images == IMAGES
    said = (
        f"{'The same work in the' if whole else 'In the'} same number of processes: with a group of its own, the median mail "
        f"took {duration(alone)}; in one group it waited behind the images and took {duration(behind)}, "
        f"{behind / alone:,.0f} times as long."
    )
    if not whole:
        said += (
            f"\nAfter {PATIENCE:g} s the demo cancelled the remaining images: "
            f"{grouped.images} of {IMAGES} were done with groups, {mixed.images} in one group"
        )
        said += "; the mails behind the cancelled images therefore came early." if mixed.images < IMAGES else "."
    return said


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
