"""`edit`, `run-now` and `move`: commands that change when and where runs start."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from tako_lite.cli.bulk import count, named_ids, run_bulk
from tako_lite.cli.commands.run_actions import LIVE, all_option, dry_run_option, print_bulk, print_count, print_outcomes
from tako_lite.cli.options import command, duration, filter_options, json_option, run_ending, time, without_none
from tako_lite.cli.output import warn, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.clock import SystemClock, milliseconds

NOT_EDITED = {
    "running": "a worker has it",
    "waiting": "it waits, and is due when its wait ends; --delay and --at are for pending runs",
    "ended": "it has ended",
    "unknown": "the run no longer exists",
}


@command
@click.argument("run", type=run_ending)
@click.option("--delay", type=duration, help="Start after a delay such as 5m, counted from now.")
@click.option("--at", type=time, help="Start at an ISO-8601 time; without a time zone it is local.")
@click.option("--priority", type=int, metavar="SECONDS", help="Head start in seconds over other runs of the group.")
@click.option("--retries", type=click.IntRange(0), help="Maximum number of retries.")
@click.option("--worker", metavar="GROUP", help="Group that executes it.")
@json_option
def edit(
    run: str,
    delay: float | None,
    at: datetime | None,
    priority: int | None,
    retries: int | None,
    worker: str | None,
    as_json: bool,
) -> int:
    """Change a run that no worker has.

    Its time, priority, retries and group can change. The payload never changes, because stored steps belong to it:
    `retry --payload` makes a new run.
    """
    if delay is not None and at is not None:
        raise click.UsageError("--delay and --at cannot be combined")
    moment = SystemClock().now() + round(delay * 1000) if delay is not None else None if at is None else milliseconds(at)
    changes = without_none(at=moment, priority=priority, retries=retries, worker=worker)
    if not changes:
        raise click.UsageError("give what to change: --delay, --at, --priority, --retries or --worker")
    queue = QueueReader()
    id = queue.ask("find", ending=run)["id"]
    outcome: str = queue.client.call("edit", run_id=id, **changes)["outcome"]
    if as_json:
        write_json({"id": id, "outcome": outcome})
    elif outcome == "edited":
        write(f"{id} edited")
    else:
        warn(f"{id} was not changed: {NOT_EDITED[outcome]}")
    return int(outcome != "edited")


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@filter_options(("pending",))
@all_option
@dry_run_option
@json_option
def run_now(runs: tuple[str, ...], dry_run: bool, as_json: bool, **chosen: Any) -> int:
    """Start runs at once that are due later, and release those that are held because their code has changed.

    The named ones, or those that match the filters: delayed runs, runs that wait for their next attempt, and held ones, which
    continue with the code as it is. Limits and rates still hold.
    """
    queue = QueueReader()
    ids = named_ids(queue, runs, chosen)
    if dry_run:
        return print_count(count(queue, chosen, ("pending",)) if ids is None else len(ids), as_json=as_json)
    if ids is None:
        return print_bulk(run_bulk(queue, "run_now", chosen), as_json=as_json)
    return print_outcomes(queue.client.call("run_now", run_ids=ids)["outcomes"], as_json=as_json)


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@click.option("--to", metavar="GROUP", required=True, help="Group that executes them from now on.")
@filter_options(LIVE)
@all_option
@dry_run_option
@json_option
def move(runs: tuple[str, ...], to: str, dry_run: bool, as_json: bool, **chosen: Any) -> int:
    """Move runs to another group.

    The named ones, or those that match the filters. A running run stays with its worker; only its next attempt is in the other
    group.
    """
    queue = QueueReader()
    ids = named_ids(queue, runs, chosen)
    if dry_run:
        return print_count(count(queue, chosen, LIVE) if ids is None else len(ids), as_json=as_json)
    if ids is None:
        return print_bulk(run_bulk(queue, "move", chosen, to=to), as_json=as_json)
    return print_outcomes(queue.client.call("move", run_ids=ids, to=to)["outcomes"], as_json=as_json)
