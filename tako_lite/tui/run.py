"""One run with its steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.reached import sentences
from tako_lite.states import begun
from tako_lite.tui.history import history_view
from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.text import STATE_STYLES, as_json, block, cell, error_text, line, state, took, when
from tako_lite.tui.traces import without_our_frames
from tako_lite.units import counted

Shape = dict[str, Any]

SHOWN_CHILDREN: Final = 10
SHOWN_STEPS: Final = 40
"""The most steps that are shown: half of them the first of the run, half the last."""
STEPS: Final = (
    Column("step"),
    Column("state"),
    Column("tries", rank=2, right=True),
    Column("started", rank=1),
    Column("took", right=True),
    Column("value", below=True),
)


def run_view(run: Shape, now: int, *, every_step: bool = True) -> RenderableType:
    """A run in the shape of `show`: its state, payload, result, steps and history, and last its error with the traceback."""
    parts: list[RenderableType] = [_facts(run, now)]
    parts += _section("payload", run["payload"])
    if run["state"] == "succeeded":
        parts += _section("result", run["result"])
    if run.get("steps"):
        parts += [Text(), *_steps(run["steps"], now, every_step=every_step)]
    if run.get("history"):
        parts += [Text(), *history_view(run["history"], now)]
    if run["error"]:
        parts += [Text(), *_error(run["error"], _failed_children(run))]
    return Group(*parts)


def _facts(run: Shape, now: int) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _named_facts(run, now):
        if value:
            facts.add_row(name, value)
    return facts


def _named_facts(run: Shape, now: int) -> list[tuple[str, RenderableType | None]]:
    crashes = f", {counted(run['crashes'], 'crash', 'crashes')}" if run["crashes"] else ""
    return [
        ("run", block(run["id"], "bold")),
        ("workflow", block(run["workflow"])),
        ("group", block(_with_source(run["group"], run.get("group_source")))),
        ("fallback", _fallback(run)),
        ("tenant", block(run["tenant"]) if run.get("tenant") else None),
        ("state", state(run["state"])),
        ("attempts", cell(f"{begun(run)} of {run['max_attempts']}{crashes}")),
        ("created", cell(when(run["created_at"], now))),
        ("due", cell(when(run["run_at"], now)) if run["state"] == "pending" else None),
        ("started", cell(when(run["started_at"], now))),
        ("finished", cell(when(run["finished_at"], now))),
        ("worker", cell(_worker(run)) if run.get("worker_pid") else None),
        ("unique key", block(run["unique_key"]) if run["unique_key"] else None),
        ("parent", block(run["parent"]) if run["parent"] else None),
        ("repeats", block(run["again"]) if run.get("again") else None),
        ("repeated by", block("\n".join(run["repeated_by"])) if run.get("repeated_by") else None),
        ("fingerprint", cell(run["fingerprint"]) if run.get("fingerprint") else None),
        ("code", cell(run["code"]) if run.get("code") else None),
        ("warning", block("\n".join(sentences(run["not_reached"])), "yellow") if run.get("not_reached") else None),
        ("discarded", cell(when(run["discarded_at"], now)) if run.get("discarded_at") else None),
        ("progress", block(_progress(run)) if run.get("progress") is not None else None),
        ("executes", block("\n".join(_in_flight(step, now) for step in run["in_flight"])) if run.get("in_flight") else None),
        ("waits for", block("\n".join(_wait(wait, now) for wait in run["waits"])) if run.get("waits") else None),
        ("request", cell("cancel") if run.get("cancel_requested") else None),
    ]


def _fallback(run: Shape) -> Text | None:
    """What happens while the group is unavailable, unless the default applies."""
    source = run.get("fallback_source", "default")
    return None if source == "default" else cell(_with_source(run["fallback"], source))


def _with_source(value: str, source: str | None) -> str:
    """A value with its source, unless it is the default."""
    return value if source in (None, "default") else f"{value} (by the {source})"


def _worker(run: Shape) -> str:
    return f"{run['worker_pid']} on {run['server']}" if run.get("server") else str(run["worker_pid"])


def _progress(run: Shape) -> str:
    return " ".join(filter(None, (f"{run['progress']:.0%}", run.get("progress_note"))))


def _in_flight(step: Shape, now: int) -> str:
    return f"step {step['name']}, since {when(step['started_at'], now)}"


def _wait(wait: Shape, now: int) -> str:
    until = f", until {when(wait['wake_at'], now)}" if wait["wake_at"] else ""
    return f"{wait['kind']} {wait['key'] or wait['name']}{until}"


def _section(title: str, value: Any) -> list[RenderableType]:
    return [] if value is None else [Text(), Text(title, "dim"), as_json(value)]


def _failed_children(run: Shape) -> list[Shape]:
    """The child runs named in the errors of a failed run's steps."""
    errors = (step["error"] for step in run.get("steps") or ())
    return [error for error in errors if error and error.get("child_id")]


def _error(error: Shape, children: Sequence[Shape]) -> list[RenderableType]:
    reason = f" ({error['reason']})" if error.get("reason") else ""
    parts: list[RenderableType] = [Text("error", "dim"), block(f"{error['type']}{reason}: {error['message']}", "red")]
    if error["type"] == "ChildFailed":
        parts += [block(f"child {child['child_id']} is {child['state']}") for child in children[:SHOWN_CHILDREN]]
    if error.get("traceback"):
        traceback, left_out = without_our_frames(error["traceback"])
        parts.append(block(traceback.rstrip()))
        if left_out:
            parts.append(Text(f"({counted(left_out, 'line')} within tako-lite left out; --json has all of it)", "dim"))
    return parts


def _steps(steps: Sequence[Shape], now: int, *, every_step: bool) -> list[RenderableType]:
    if every_step or len(steps) <= SHOWN_STEPS:
        return [_steps_table(steps, now)]
    half = SHOWN_STEPS // 2
    more = f"… {counted(len(steps) - SHOWN_STEPS, 'step')} between the first {half} and the last {half}; --steps shows them"
    table = _steps_table([*steps[:half], *steps[-half:]], now)
    return [table, Text(more, "dim")]


def _steps_table(steps: Sequence[Shape], now: int) -> RenderableType:
    return Listing(STEPS, (_step_cells(step, now) for step in steps))


def _step_cells(step: Shape, now: int) -> list[Cell]:
    value = error_text(step["error"]) if step.get("error") else _short(step["result"])
    return [
        (line(step["name"]), ""),
        (line(step["state"]), STATE_STYLES.get(step["state"], "")),
        (str(step["attempts"]), ""),
        (when(step["started_at"], now), ""),
        (_took(step), ""),
        ("timed out" if step.get("timed_out") else line(value), ""),
    ]


def _took(step: Shape) -> str:
    if not step["started_at"] or not step["finished_at"]:
        return ""
    between = datetime.fromisoformat(step["finished_at"]) - datetime.fromisoformat(step["started_at"])
    return took(between.total_seconds())


def _short(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
