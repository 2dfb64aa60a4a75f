"""`demo`: see tako-lite at work, without a project."""

from __future__ import annotations

import click

from tako_lite.cli.options import command, duration

DEMOS = ("shop", "crash", "scale")


@command
@click.argument("name", metavar="[shop|crash|scale]", type=click.Choice(DEMOS), default="shop")
@click.option("--for", "seconds", type=duration, metavar="DURATION", help="How long it lasts  [default: 30s to 60s]")
def demo(name: str, seconds: float | None) -> int:
    """See tako-lite at work, without a project of your own.

    It serves a small shop in a temporary folder, with the dashboard. shop: mails that pass a queue of pictures. crash: workers
    are killed, and no order is lost. scale: groups grow from no process, and shrink to none. At the end everything is removed.
    """
    from tako_lite.cli.demo import run_demo

    return run_demo(name, seconds)
