"""`schedules`: workflows that run at times of a cron expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tako_lite.cli.enqueue_one import refuse_ended
from tako_lite.cli.options import chosen_config
from tako_lite.cli.output import warn, write, write_json
from tako_lite.cli.pausable import Family, pausable_family
from tako_lite.client import Client

if TYPE_CHECKING:
    from rich.console import RenderableType


def _run(name: str, as_json: bool) -> None:
    """Enqueue one run now, as the schedule would; its next time does not change."""
    with Client(chosen_config(), source="cli") as client:
        made = client.call("run_schedule", workflow=name)
    if as_json:
        write_json(made)
    else:
        write(f"{made['id']} {made['state']} in {made['group']}")
    refuse_ended(made["id"], made["state"], made.get("warning"))
    if not as_json:
        warn(made.get("warning"))


def _table(answer: dict[str, Any], now: int) -> RenderableType:
    from tako_lite.tui.tables import schedules_table

    return schedules_table(answer["schedules"], now)


schedules = pausable_family(
    Family(
        noun="schedule",
        key="workflow",
        summary="List, pause, resume or run schedules. A schedule has the name of its workflow.",
        pause="Stop enqueueing runs of a schedule. Times that pass while it is paused are skipped.",
        resume="Let a paused schedule enqueue runs again, from its next time on.",
        run=_run,
        table=_table,
    )
)
