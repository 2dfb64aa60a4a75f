"""Enqueueing of one run.

Imports few modules, and not click: scripts call this in a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tako_lite.cli.output import draw, warn, write, write_json
from tako_lite.cli.payload import read_payload
from tako_lite.cli.payload_check import payload_check
from tako_lite.errors import BadInput, RunEnded
from tako_lite.states import TERMINAL

if TYPE_CHECKING:
    from tako_lite.client import Client


def enqueue_one(
    client: Client,
    workflow: str,
    payload: Sequence[str],
    options: dict[str, Any],
    *,
    wait: bool = False,
    timeout: float | None = None,
    config: str | None = None,
    as_json: bool = False,
) -> int:
    """Enqueue a run and print its id or, with `wait`, the ended run; return the exit code. `payload` is as typed.

    Raises RunEnded if the run ended at once.
    """
    value = read_payload(*payload) if payload else None
    try:
        payload_check(client, workflow, config)(value)
    except BadInput as error:
        if isinstance(value, dict) and any("=" in argument and ":=" not in argument for argument in payload):
            error.hint = f"{error.hint}; key=value is text, key:=value is JSON"
        raise
    enqueued = client.enqueue(workflow, value, **options)
    if wait:
        from tako_lite.cli.waiting import wait_for_end

        if enqueued.state == "pending" and not as_json:
            warn(enqueued.warning)
        return _print_ended(wait_for_end(client, enqueued, timeout), as_json=as_json)
    if as_json:
        write_json(enqueued.as_json())
    else:
        known = " (known already, no new run)" if enqueued.deduplicated else ""
        write(f"{enqueued.id} {enqueued.state} in {enqueued.group}{known}")
    if not enqueued.deduplicated:
        refuse_ended(enqueued.id, enqueued.state, enqueued.warning)
    if not as_json:
        warn(enqueued.warning)
    return 0


def refuse_ended(id: str, state: str, reason: str | None) -> None:
    """Raise RunEnded for a new run that ended before it started."""
    if state in TERMINAL:
        because = f": {reason}" if reason else ""
        raise RunEnded(f"run {id} ended at once, {state}{because}", hint=f"`tako-lite show {id}` shows it")


def _print_ended(run: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        write_json(run)
    else:
        from tako_lite.clock import SystemClock
        from tako_lite.tui.run import run_view

        draw(run_view(run, SystemClock().now()))
    return 0 if run["state"] == "succeeded" else 1
