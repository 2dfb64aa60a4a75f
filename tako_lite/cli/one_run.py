"""One run, put into the queue and printed.

Imports stay few here, and click is none of them: this is what scripts call in a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tako_lite.cli.output import draw, warn, write, write_json
from tako_lite.cli.payload import read_payload
from tako_lite.errors import Interrupted

if TYPE_CHECKING:
    from tako_lite.client import Client


def enqueue_one(
    client: Client,
    workflow: str,
    payload: str | None,
    options: dict[str, Any],
    *,
    wait: bool = False,
    timeout: float | None = None,
    as_json: bool = False,
) -> int:
    """Enqueue a run and print its id, or with `wait` how it ended; returns the exit code. `payload` is as it was typed."""
    value = None if payload is None else read_payload(payload)
    enqueued = client.enqueue(workflow, value, **options)
    if wait:
        warn(enqueued.warning)
        return _print_ended(_wait(client, enqueued.id, timeout), as_json=as_json)
    if as_json:
        write_json(enqueued.as_json())
        return 0
    known = " (known already, no new run)" if enqueued.deduplicated else ""
    write(f"{enqueued.id} {enqueued.state} in {enqueued.group}{known}")
    warn(enqueued.warning)
    return 0


def _wait(client: Client, id: str, timeout: float | None) -> dict[str, Any]:
    try:
        return client.wait(id, timeout)
    except KeyboardInterrupt:
        hint = f"`tako-lite show {id}` shows how it goes, `tako-lite cancel {id}` ends it"
        raise Interrupted(f"interrupted; the run {id} goes on", hint=hint) from None


def _print_ended(run: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        write_json(run)
    else:
        from tako_lite.clock import SystemClock
        from tako_lite.tui.run import run_view

        draw(run_view(run, SystemClock().now()))
    return 0 if run["state"] == "succeeded" else 1
