"""The lists of runs, schedules, workflows and settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.tui.listing import Cell, Listing
from tako_lite.tui.text import SHOWN_ID, STATE_STYLES, begun, block, cell, line, state, told, when
from tako_lite.units import duration_text, size_text

Shape = dict[str, Any]
LONGEST_CURSOR: Final = 40
"""Characters of a cursor in a table."""


def runs_table(runs: Sequence[Shape], now: int) -> RenderableType:
    """Runs, one a line, with the end of their ids."""
    if not runs:
        return Text("no runs", "dim")
    titles = ("run", "workflow", "group", "state", "attempts", "created", "finished", "error")
    return Listing(titles, (_run_cells(run, now) for run in runs))


def _run_cells(run: Shape, now: int) -> list[Cell]:
    return [
        (line(run["id"])[-SHOWN_ID:], ""),
        (line(run["workflow"]), ""),
        (line(run["group"]), ""),
        (line(run["state"]), STATE_STYLES.get(run["state"], "")),
        (f"{begun(run)}/{run['max_attempts']}", ""),
        (when(run["created_at"], now), ""),
        (when(run["finished_at"], now), ""),
        (line(told(run["error"])), "red"),
    ]


def schedules_table(schedules: Sequence[Shape], now: int) -> RenderableType:
    """Schedules with their next and last times."""
    if not schedules:
        return Text("no schedules", "dim")
    table = plain_table("workflow", "schedule", "time zone", "next", "last", "")
    for schedule in schedules:
        table.add_row(
            cell(schedule["workflow"]),
            cell(schedule["cron"]),
            cell(schedule["timezone"]),
            cell(when(schedule["next_at"], now)),
            cell(when(schedule["last_at"], now)),
            state("paused") if schedule["paused"] else cell(""),
        )
    return table


def triggers_table(triggers: Sequence[Shape], now: int) -> RenderableType:
    """Triggers with where they got to, and what went wrong the last time."""
    if not triggers:
        return Text("no triggers", "dim")
    table = plain_table("trigger", "group", "every", "starts", "started", "last", "next", "cursor", "", "error")
    for trigger in triggers:
        table.add_row(
            cell(trigger["name"]),
            cell(trigger["group"]),
            cell(duration_text(trigger["every_s"])),
            cell(trigger["starts"]),
            cell(f"{trigger['started']:,}"),
            cell(when(trigger["evaluated_at"], now)),
            cell(when(trigger["next_at"], now)),
            cell(_cut(json.dumps(trigger["cursor"], ensure_ascii=False))),
            _trigger_state(trigger),
            cell(told(trigger["last_error"]), "red"),
        )
    waiting = [f"{trigger['name']} waits: {line(trigger['trouble'])}" for trigger in triggers if trigger["trouble"]]
    return Group(table, *(block(text, "yellow") for text in waiting))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CURSOR else f"{text[: LONGEST_CURSOR - 1]}…"


def _trigger_state(trigger: Shape) -> Text:
    if trigger["trouble"]:
        return state("waiting")
    if trigger["evaluating"]:
        return cell("evaluating", "green")
    return state("paused") if trigger["paused"] else cell("")


def workflows_table(workflows: Sequence[Shape]) -> RenderableType:
    """Workflows with their groups and where they are written."""
    if not workflows:
        return Text("no workflows", "dim")
    table = plain_table("workflow", "group", "retries", "schedule", "file")
    for workflow in workflows:
        table.add_row(
            cell(workflow["name"]),
            cell(workflow["group"]),
            cell(workflow["retries"]),
            cell(workflow["schedule"]),
            cell(f"{workflow['file']}:{workflow['line']}"),
        )
    return table


def config_view(about: Shape, groups: Shape) -> RenderableType:
    """The project's own settings, then every setting of each group with the table that it came from."""
    queue = about["queue"]
    head = Table.grid(padding=(0, 2))
    for name, value in (
        ("file", about["file"] or "none: built-in defaults"),
        ("name", about["name"]),
        ("server", about["server"]),
        ("queue", f"{queue['path']} (durability {queue['durability']})"),
    ):
        head.add_row(Text(name, "dim"), block(str(value)))
    parts: list[RenderableType] = [head]
    for name, settings in groups.items():
        parts += [Text(), cell(name, "bold"), settings_table(settings)]
    return Group(*parts)


def settings_table(settings: Shape) -> Table:
    """The settings of a group, each with the table that it came from."""
    table = plain_table("setting", "value", "from")
    for key, setting in settings.items():
        style = "dim" if setting["source"] == "built-in" else ""
        table.add_row(cell(key, style), cell(_shown(key, setting["value"]), style), cell(setting["source"], style))
    return table


def _shown(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.endswith("_timeout"):
        return duration_text(value)
    if key == "max_memory":
        return size_text(value)
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def plain_table(*titles: str) -> Table:
    """A table with plain columns."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in titles:
        made.add_column(title)
    return made
