"""`runs`, `show` and `why`: reading about runs."""

from __future__ import annotations

import click

from tako_lite.cli.options import command, filter_options, given, json_option, run_ending
from tako_lite.cli.output import draw, write, write_json
from tako_lite.cli.queue import Queue
from tako_lite.clock import SystemClock


@command
@filter_options()
@click.option("--all", "unlimited", is_flag=True, help="Every run, not only the newest.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="So many at most.")
@json_option
def runs(
    workflow: str | None,
    group: str | None,
    states: tuple[str, ...],
    since: int | None,
    unlimited: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, the newest first."""
    chosen = given(workflow=workflow, group=group, states=states, since=since, limit=None if unlimited else limit)
    answer = Queue().ask("runs", **chosen)
    if as_json:
        write_json(answer)
        return
    from tako_lite.tui.tables import runs_table

    draw(runs_table(answer["runs"], SystemClock().now()))


@command
@click.argument("run", type=run_ending)
@json_option
def show(run: str, as_json: bool) -> None:
    """Show one run with its steps. RUN is its id or any unique ending of 4 or more characters."""
    queue = Queue()
    found = queue.ask("get", run_id=queue.ask("find", ending=run)["id"])["run"]
    if as_json:
        write_json(found)
        return
    from tako_lite.tui.run import run_view

    draw(run_view(found, SystemClock().now()))


@command
@click.argument("run", type=run_ending)
@json_option
def why(run: str, as_json: bool) -> None:
    """Say in a sentence why a run is where it is. RUN is its id or any unique ending of 4 or more characters."""
    queue = Queue()
    id = queue.ask("find", ending=run)["id"]
    answer = queue.ask("why", run_id=id)
    if as_json:
        write_json({"id": id, **answer})
    else:
        write(answer["sentence"])
