"""`runs`, `show` and `why`: commands that read runs."""

from __future__ import annotations

from typing import Any

import click

from tako_lite.cli.bulk import filters_of
from tako_lite.cli.filter_names import check_names
from tako_lite.cli.options import command, filter_options, json_option, run_ending
from tako_lite.cli.output import console, draw, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.clock import SystemClock, in_local_time
from tako_lite.protocol.commands import PAGE


@command
@filter_options()
@click.option("--all", "unlimited", is_flag=True, help="All runs, not only the newest.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of runs.")
@click.option("--before", metavar="RUN", type=run_ending, help="Only runs made before this one: the next page.")
@json_option
def runs(unlimited: bool, limit: int, before: str | None, as_json: bool, **chosen: Any) -> None:
    """List runs, the newest first.

    The next page begins with --before and the last run of this one, which `next` has in the JSON.
    """
    queue = QueueReader()
    filters = filters_of(queue, chosen)
    if before is not None:
        filters["before"] = queue.ask("find", ending=before)["id"]
    found = all_runs(queue, filters, None if unlimited else limit)
    if not found:
        check_names(queue, workflow=chosen["workflow"], group=chosen["group"])
    if as_json:
        write_json({"runs": found, "next": found[-1]["id"] if not unlimited and len(found) == limit else None})
        return
    from tako_lite.tui.tables import runs_table

    draw(runs_table(found, SystemClock().now()))


def all_runs(queue: QueueReader, chosen: dict[str, Any], limit: int | None) -> list[dict[str, Any]]:
    """The newest runs, read page by page so that no answer is large."""
    found: list[dict[str, Any]] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        before = {"before": found[-1]["id"]} if found else {}
        page = queue.ask("runs", **{**chosen, **before, "limit": size})["runs"]
        found += page
        if len(page) < size:
            break
    return found


@command
@click.argument("run", type=run_ending)
@click.option("--steps", "every_step", is_flag=True, help="Show every step, even of a run with very many.")
@json_option
def show(run: str, every_step: bool, as_json: bool) -> None:
    """Show one run with its steps. RUN is its id or any unique ending of 4 or more characters."""
    queue = QueueReader()
    found = queue.ask("get", run_id=queue.ask("find", ending=run)["id"])["run"]
    if as_json:
        write_json(found)
        return
    from tako_lite.tui.run import run_view

    draw(run_view(found, SystemClock().now(), every_step=every_step or not console().is_terminal))


@command
@click.argument("run", type=run_ending)
@json_option
def why(run: str, as_json: bool) -> None:
    """Explain in one sentence why a run is in its state. RUN is its id or any unique ending of 4 or more characters."""
    queue = QueueReader()
    id = queue.ask("find", ending=run)["id"]
    answer = queue.ask("why", run_id=id)
    if as_json:
        write_json({"id": id, **answer})
    else:
        write(in_local_time(answer["sentence"]))
