"""`triggers`: functions that the daemon polls for work, and that enqueue runs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tako_lite.cli.options import chosen_config
from tako_lite.cli.output import warn, write, write_json
from tako_lite.cli.pausable import Family, pausable_family
from tako_lite.client import Client

if TYPE_CHECKING:
    from rich.console import RenderableType


def _run(name: str, as_json: bool) -> None:
    """Evaluate a trigger now, even if it is paused."""
    with Client(chosen_config(), source="cli") as client:
        answer = client.call("run_trigger", name=name)
    if as_json:
        write_json(answer)
        return
    write(f"trigger {name} is {'being' if answer['begun'] else 'already being'} evaluated in group {answer['group']}")
    warn(answer["warning"])


def _table(answer: dict[str, Any], now: int) -> RenderableType:
    from tako_lite.tui.tables import triggers_table

    return triggers_table(answer["triggers"], now)


triggers = pausable_family(
    Family(
        noun="trigger",
        key="name",
        summary="List, pause, resume or run polling triggers.",
        pause="Stop evaluating a trigger. An evaluation that a worker has begun is finished.",
        resume="Evaluate a paused trigger again, from its stored cursor.",
        run=_run,
        table=_table,
    )
)
