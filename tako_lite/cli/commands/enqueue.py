"""`enqueue`: one run from the command line, or many from a file of lines."""

from __future__ import annotations

from typing import Any

import click

from tako_lite.cli.enqueue_one import enqueue_one
from tako_lite.cli.options import chosen_config, command, duration, json_option, time, without_none
from tako_lite.client import Client

ONE_RUN_ONLY = ("payload", "unique_key", "id", "wait")


@command
@click.argument("workflow")
@click.argument("payload", required=False)
@click.option("--jsonl", metavar="FILE|-", help="Enqueue one run for each line of the file, which is its payload.")
@click.option("--worker", metavar="GROUP", help="The group, instead of the workflow's own.")
@click.option("--fallback", metavar="WORD", help="Where the group is paused or broken: wait, fail, cancel or ignore.")
@click.option("--tenant", metavar="NAME", help="For whom the run is.")
@click.option("--unique-key", metavar="KEY", help="Return the live run that has this key, if there is one.")
@click.option("--delay", type=duration, help="Start after this delay, such as 5m.")
@click.option("--at", type=time, help="Start at this time (ISO-8601; without a zone it is local).")
@click.option("--priority", type=int, metavar="SECONDS", help="Head start before other runs of the group.")
@click.option("--retries", type=click.IntRange(0), help="Tries after the first, instead of the workflow's own number.")
@click.option("--id", metavar="UUID", help="The run's id: the same one again makes no second run.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the run; exit code 1 if it did not succeed.")
@click.option("--timeout", type=duration, help="Wait no longer than this; exit code 124.")
@json_option
def enqueue(workflow: str, payload: str | None, jsonl: str | None, as_json: bool, **options: Any) -> int:
    """Put runs of a workflow into the queue.

    PAYLOAD is JSON, or @FILE, or - for stdin; without one it is null. Without a daemon the run is stored all the same,
    and starts when one does.
    """
    wait, timeout = options.pop("wait"), options.pop("timeout")
    _check(options, payload, jsonl, wait, timeout)
    chosen = without_none(**options)
    with Client(chosen_config()) as client:
        if jsonl is not None:
            from tako_lite.cli.enqueue_jsonl import enqueue_lines

            return enqueue_lines(client, workflow, jsonl, chosen, as_json=as_json)
        return enqueue_one(client, workflow, payload, chosen, wait=wait, timeout=timeout, as_json=as_json)


def _check(options: dict[str, Any], payload: str | None, jsonl: str | None, wait: bool, timeout: float | None) -> None:
    if options["delay"] is not None and options["at"] is not None:
        raise click.UsageError("--delay and --at say two different times")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    if jsonl is not None:
        for name, value in {**options, "payload": payload, "wait": wait or None}.items():
            if name in ONE_RUN_ONLY and value is not None:
                shown = "PAYLOAD" if name == "payload" else f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{shown} is for one run and --jsonl for many")
