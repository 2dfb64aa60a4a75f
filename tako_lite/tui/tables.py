"""The lists of runs, schedules, workflows and settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.states import begun
from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.text import SHOWN_ID, STATE_STYLES, block, cell, error_text, line, when
from tako_lite.units import duration_text

Shape = dict[str, Any]

RUNS: Final = (
    Column("run"),
    Column("workflow"),
    Column("group", rank=4),
    Column("state"),
    Column("attempts", rank=3, right=True),
    Column("created", rank=1),
    Column("finished", rank=2),
    Column("error", below=True),
)
SCHEDULES: Final = (
    Column("workflow"),
    Column("schedule"),
    Column("time zone", rank=2),
    Column("next"),
    Column("last", rank=1),
    Column("state"),
)
TRIGGERS: Final = (
    Column("trigger"),
    Column("group", rank=3),
    Column("every", rank=2),
    Column("starts", rank=5),
    Column("started", rank=4, right=True),
    Column("last", rank=1),
    Column("next"),
    Column("state"),
    Column("cursor", below=True, label=True),
    Column("error", below=True),
)
WORKFLOWS: Final = (
    Column("workflow"),
    Column("group"),
    Column("retries", rank=2, right=True),
    Column("schedule", below=True, label=True),
    Column("file", below=True),
)
SETTINGS: Final = (Column("setting"), Column("value"), Column("from"))


def runs_table(runs: Sequence[Shape], now: int) -> RenderableType:
    """A list of runs, one a line, with the end of their ids."""
    return Listing(RUNS, (_run_cells(run, now) for run in runs)) if runs else Text("no runs", "dim")


def _run_cells(run: Shape, now: int) -> list[Cell]:
    return [
        (line(run["id"])[-SHOWN_ID:], ""),
        (line(run["workflow"]), ""),
        (line(run["group"]), ""),
        (line(run["state"]), STATE_STYLES.get(run["state"], "")),
        (f"{begun(run)}/{run['max_attempts']}", ""),
        (when(run["created_at"], now), ""),
        (when(run["finished_at"], now), ""),
        (line(error_text(run["error"])), "red"),
    ]


def schedules_table(schedules: Sequence[Shape], now: int) -> RenderableType:
    """Schedules with their next and last times."""
    return (
        Listing(SCHEDULES, (_schedule_cells(schedule, now) for schedule in schedules))
        if schedules
        else Text("no schedules", "dim")
    )


def _schedule_cells(schedule: Shape, now: int) -> list[Cell]:
    return [
        (line(schedule["workflow"]), ""),
        (line(schedule["cron"]), ""),
        (line(schedule["timezone"]), ""),
        (when(schedule["next_at"], now), ""),
        (when(schedule["last_at"], now), ""),
        ("paused", STATE_STYLES["paused"]) if schedule["paused"] else ("", ""),
    ]


def triggers_table(triggers: Sequence[Shape], now: int) -> RenderableType:
    """A list of triggers with the outcome of their last evaluations, and below it why some of them wait."""
    if not triggers:
        return Text("no triggers", "dim")
    waiting = [f"{trigger['name']} waits: {line(trigger['trouble'])}" for trigger in triggers if trigger["trouble"]]
    table = Listing(TRIGGERS, (_trigger_cells(trigger, now) for trigger in triggers))
    return Group(table, *(block(text, "yellow") for text in waiting))


def _trigger_cells(trigger: Shape, now: int) -> list[Cell]:
    return [
        (line(trigger["name"]), ""),
        (line(trigger["group"]), ""),
        (duration_text(trigger["every_s"]), ""),
        (line(trigger["starts"]), ""),
        (f"{trigger['started']:,}", ""),
        (when(trigger["evaluated_at"], now), ""),
        (when(trigger["next_at"], now), ""),
        _trigger_state(trigger),
        (line(json.dumps(trigger["cursor"], ensure_ascii=False)), ""),
        (line(error_text(trigger["last_error"])), "red"),
    ]


def _trigger_state(trigger: Shape) -> Cell:
    for word, holds in (("waiting", trigger["trouble"]), ("evaluating", trigger["evaluating"]), ("paused", trigger["paused"])):
        if holds:
            return word, STATE_STYLES.get(word, "green")
    return "", ""


def workflows_table(workflows: Sequence[Shape]) -> RenderableType:
    """A list of workflows with their groups, files and lines."""
    return Listing(WORKFLOWS, map(_workflow_cells, workflows)) if workflows else Text("no workflows", "dim")


def _workflow_cells(workflow: Shape) -> list[Cell]:
    return [
        (line(workflow["name"]), ""),
        (line(workflow["group"]), ""),
        (str(workflow["retries"]), ""),
        (line(workflow["schedule"]), ""),
        (line(f"{workflow['file']}:{workflow['line']}"), ""),
    ]


def config_view(about: Shape, groups: Shape) -> RenderableType:
    """The project's own settings, then every setting of each group with the table that set it."""
    queue = about["queue"]
    where = queue["path"] if "path" in queue else f"{queue['address']} (schema {queue['schema']})"
    head = Table.grid(padding=(0, 2))
    for name, value in (
        ("file", about["file"] or "none: built-in defaults"),
        ("name", about["name"]),
        ("server", about["server"]),
        ("state_dir", about["state_dir"]),
        ("queue", f"{where} (durability {queue['durability']})"),
    ):
        head.add_row(Text(name, "dim"), block(str(value)))
    for table in ("monitor", "logs", "web"):
        set_to = {key: value for key, value in about.get(table, {}).items() if value is not None}
        head.add_row(Text(f"[{table}]", "dim"), block(", ".join(f"{key} = {json.dumps(set_to[key])}" for key in set_to)))
    parts: list[RenderableType] = [head]
    for name, settings in groups.items():
        parts += [Text(), cell(name, "bold"), settings_table(settings)]
    return Group(*parts)


def settings_table(settings: Shape) -> RenderableType:
    """The settings of a group, each with the table that set it."""
    return Listing(SETTINGS, (_setting_cells(key, setting) for key, setting in settings.items()))


def _setting_cells(key: str, setting: Shape) -> list[Cell]:
    style = "dim" if setting["source"] == "built-in" else ""
    return [(line(key), style), (line(_shown(key, setting["value"])), style), (line(setting["source"]), style)]


def _shown(key: str, value: Any) -> str:
    from tako_lite.config.settings import SETTINGS  # only the tables of settings need it

    return "" if value is None else SETTINGS[key].text(value)
