"""`logs`: the output of workers, read from the files in `.tako/logs`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing, suppress
from functools import partial
from typing import Final

import click

from tako_lite.cli.filter_names import check_names
from tako_lite.cli.options import command, json_option, run_ending, since
from tako_lite.cli.output import json_text, note
from tako_lite.cli.queue import QueueReader
from tako_lite.client.logfiles import Line, Tail, groups_in, stored_lines
from tako_lite.clock import local
from tako_lite.errors import NotFound
from tako_lite.names import printable
from tako_lite.records import SCHEMA, new_id

SHOWN: Final = 200
"""Number of lines without a RUN or -n."""
SHOWN_ID: Final = 8
NEWEST_RUNS: Final = 500
"""How many runs of a workflow have their older lines shown."""
MESSAGES: Final = ("message", "event", "msg")
LEVELS: Final = ("level", "levelname", "severity")
TIMES: Final = ("timestamp", "asctime", "time", "ts")
"""Keys of structured loggers. Their time is left out: each line has that of its arrival."""
LENGTH_OF_A_TIME: Final = 23
"""Characters of a time without its UTC offset, which is the same on every line."""


@command
@click.argument("run", required=False, type=run_ending)
@click.option("--workflow", metavar="NAME", help="Only lines of the newest runs of this workflow, and of new ones.")
@click.option("--group", metavar="NAME", help="Only lines of this group's workers.")
@click.option("--since", type=since, metavar="TIME|DURATION", help="Only lines since a time, or within a duration such as 2h.")
@click.option("--grep", metavar="TEXT", help="Only lines that contain TEXT, in capital or small letters.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they are written, until Ctrl-C.")
@click.option(
    "-n",
    "lines",
    type=click.IntRange(0),
    metavar="LINES",
    help="Maximum number of lines, the newest ones  [default: 200; with RUN, all]",
)
@json_option
def logs(
    run: str | None,
    workflow: str | None,
    group: str | None,
    since: int | None,
    grep: str | None,
    follow: bool,
    lines: int | None,
    as_json: bool,
) -> None:
    """Print the output of workers: of all groups in order of time, or of one RUN.

    Works without a daemon. --json prints one document per line. Ctrl-C ends --follow with exit code 0.
    """
    queue = QueueReader()
    id = queue.ask("find", ending=run)["id"] if run else None
    folder = queue.state_dir / "logs"
    if group is not None and not groups_in(folder, group):
        check_names(queue, group=group)
    runs = None if workflow is None else RunsOfWorkflow(queue, workflow)
    count = lines if lines is not None else None if id else SHOWN
    print_lines = _print_json if as_json else _print_plain
    wanted = partial(_wanted, since=since, text=(grep or "").lower(), runs=runs)
    if not follow:
        print_lines(_newest(filter(wanted, stored_lines(folder, group, id)), count))
        if not folder.exists():
            note("no worker has written anything yet")
        return
    # The tail is opened first, so that no line between the stored and the new ones is missed.
    with closing(Tail(folder, group, id)) as tail, suppress(KeyboardInterrupt):  # Ctrl-C is the normal end
        print_lines(_newest(filter(wanted, stored_lines(folder, group, id, up_to=tail.positions)), count))
        for new in filter(wanted, tail.follow()):
            print_lines([new])


class RunsOfWorkflow:
    """The newest runs of a workflow at the start, and those that are enqueued afterwards. Raises NotFound."""

    def __init__(self, queue: QueueReader, workflow: str) -> None:
        self._queue, self._workflow = queue, workflow
        self._since = new_id()
        self._known = {run["id"]: True for run in queue.ask("runs", workflow=workflow, limit=NEWEST_RUNS)["runs"]}
        if not self._known:
            check_names(queue, workflow=workflow)

    def __contains__(self, id: str) -> bool:
        if id not in self._known:
            self._known[id] = id > self._since and self._is_one(id)
        return self._known[id]

    def _is_one(self, id: str) -> bool:
        try:
            return bool(self._queue.ask("get", run_id=id)["run"]["workflow"] == self._workflow)
        except NotFound:  # it has been pruned
            return False


def _wanted(line: Line, since: int | None, text: str, runs: RunsOfWorkflow | None) -> bool:
    if runs is not None and (line.run is None or line.run not in runs):
        return False
    return (since is None or line.at >= since) and text in line.text.lower()


def _newest(lines: Iterable[Line], count: int | None) -> Iterable[Line]:
    return lines if count is None else deque(lines, maxlen=count)


def _print_json(lines: Iterable[Line]) -> None:
    for line in lines:
        click.echo(json_text({"schema": SCHEMA, **line.as_json()}))


def _print_plain(lines: Iterable[Line]) -> None:
    for line in lines:
        who = f"{line.group} {(line.run or str(line.pid or '…'))[-SHOWN_ID:]}"
        prefix = click.style(printable(f"{local(line.at)[:LENGTH_OF_A_TIME]} {who} |"), dim=True)
        click.echo(f"{prefix} {printable(_shown(line))}")


def _shown(line: Line) -> str:
    """The text of a line; of JSON, the level, the message, and then the other fields."""
    fields = line.fields
    if fields is None or (message := next((fields.pop(key) for key in MESSAGES if key in fields), None)) is None:
        return line.text
    level = next((fields.pop(key) for key in LEVELS if key in fields), None)
    for key in TIMES:
        fields.pop(key, None)
    head = [str(level).upper()] if level is not None else []
    return " ".join([*head, str(message), *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: object) -> str:
    return value if isinstance(value, str) and value and not set(value) & set(' "=\n') else json_text(value)
