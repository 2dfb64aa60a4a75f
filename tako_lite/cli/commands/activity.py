"""`activity`: what people changed by hand."""

from __future__ import annotations

import click

from tako_lite.cli.options import command, json_option, without_none
from tako_lite.cli.output import draw, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.clock import SystemClock
from tako_lite.protocol.commands import PAGE


@command
@click.option("--actor", metavar="NAME", help="Only what this person did.")
@click.option("--action", metavar="NAME", help="Only this action, such as pause or bulk_retry.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Maximum number of entries.")
@click.option("--before", metavar="ID", help="Only entries before this one: the next page begins after the last `id`.")
@json_option
def activity(actor: str | None, action: str | None, limit: int, before: str | None, as_json: bool) -> None:
    """List what people changed by hand.

    The newest entry comes first: who, when, what, and what came of it.
    """
    chosen = without_none(actor=actor, action=action, before=before)
    found = QueueReader().ask("activity", limit=limit, **chosen)["activity"]
    if as_json:
        write_json({"activity": found})
        return
    from tako_lite.tui.activity import activity_table

    draw(activity_table(found, SystemClock().now()))
