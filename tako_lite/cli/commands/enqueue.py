"""`enqueue`: one run from arguments, or many from the lines of a file."""

from __future__ import annotations

from typing import Any

import click

from tako_lite.cli.enqueue_one import enqueue_one
from tako_lite.cli.options import chosen_config, command, duration, json_option, time, without_none
from tako_lite.cli.payload_check import payload_check
from tako_lite.client import Client

ONE_RUN_ONLY = ("payload", "unique_key", "id", "wait")


@command
@click.argument("workflow")
@click.argument("payload", nargs=-1)
@click.option("--jsonl", metavar="FILE|-", help="Enqueue one run for each line of a file; the line is its payload.")
@click.option("--worker", metavar="GROUP", help="Group to run in, instead of the workflow's own.")
@click.option("--fallback", metavar="WORD", help="What to do while the group is unavailable: wait, fail, cancel or ignore.")
@click.option("--tenant", metavar="NAME", help="Tenant for which the run is executed.")
@click.option("--unique-key", metavar="KEY", help="If a live run has this key, return it instead of enqueueing another.")
@click.option("--delay", type=duration, help="Start after a delay such as 5m.")
@click.option("--at", type=time, help="Start at an ISO-8601 time; without a time zone it is local.")
@click.option("--priority", type=int, metavar="SECONDS", help="Head start in seconds over other runs of the group.")
@click.option("--retries", type=click.IntRange(0), help="Maximum number of retries, instead of the workflow's own.")
@click.option("--id", metavar="UUID", help="Id of the run; repeating it does not enqueue a second run.")
@click.option("--wait", is_flag=True, help="Wait until the run ends and print it; exit code 1 if it did not succeed.")
@click.option("--timeout", type=duration, help="Maximum time to wait, then exit with code 124.")
@json_option
def enqueue(workflow: str, payload: tuple[str, ...], jsonl: str | None, as_json: bool, **options: Any) -> int:
    """Put runs of a workflow into the queue.

    PAYLOAD is JSON, @FILE, - for stdin, or fields: key=text, n:=3, tags[]=new, body=@FILE. The default is null. Without a
    daemon the run is stored, and starts once a daemon runs.
    """
    wait, timeout = options.pop("wait"), options.pop("timeout")
    _check(options, payload, jsonl, wait, timeout)
    chosen = without_none(**options)
    with Client(chosen_config(), source="cli") as client:
        if jsonl is not None:
            from tako_lite.cli.enqueue_jsonl import enqueue_lines

            check = payload_check(client, workflow, chosen_config())
            return enqueue_lines(client, workflow, jsonl, chosen, check, as_json=as_json)
        return enqueue_one(
            client, workflow, payload, chosen, wait=wait, timeout=timeout, config=chosen_config(), as_json=as_json
        )


def _check(options: dict[str, Any], payload: tuple[str, ...], jsonl: str | None, wait: bool, timeout: float | None) -> None:
    if options["delay"] is not None and options["at"] is not None:
        raise click.UsageError("--delay and --at cannot be combined")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    if jsonl is not None:
        for name, value in {**options, "payload": payload or None, "wait": wait or None}.items():
            if name in ONE_RUN_ONLY and value is not None:
                shown = "PAYLOAD" if name == "payload" else f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{shown} cannot be combined with --jsonl")
