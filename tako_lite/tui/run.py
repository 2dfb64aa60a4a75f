"""One run with its steps."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.tui.text import as_json, begun, block, cell, span, state, told, when

Shape = dict[str, Any]


def run_view(run: Shape, now: int) -> RenderableType:
    """A run in the shape of `show`: its facts, payload, result or error, waits and steps."""
    parts: list[RenderableType] = [_facts(run, now)]
    parts += _section("payload", run["payload"])
    if run["state"] == "succeeded":
        parts += _section("result", run["result"])
    if run["error"]:
        parts += [Text(), *_error(run["error"])]
    if run.get("steps"):
        parts += [Text(), _steps(run["steps"], now)]
    return Group(*parts)


def _facts(run: Shape, now: int) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _named_facts(run, now):
        if value:
            facts.add_row(name, value)
    return facts


def _named_facts(run: Shape, now: int) -> list[tuple[str, Text | None]]:
    attempts = f"{begun(run)} of {run['max_attempts']}" + (f", {run['crashes']} crashes" if run["crashes"] else "")
    return [
        ("run", block(run["id"], "bold")),
        ("workflow", block(run["workflow"])),
        ("group", block(_said(run["group"], run.get("group_source")))),
        ("fallback", _fallback(run)),
        ("tenant", block(run["tenant"]) if run.get("tenant") else None),
        ("state", state(run["state"])),
        ("attempts", cell(attempts)),
        ("created", cell(when(run["created_at"], now))),
        ("due", cell(when(run["run_at"], now)) if run["state"] == "pending" else None),
        ("started", cell(when(run["started_at"], now))),
        ("finished", cell(when(run["finished_at"], now))),
        ("worker", cell(_worker(run)) if run.get("worker_pid") else None),
        ("unique key", block(run["unique_key"]) if run["unique_key"] else None),
        ("parent", block(run["parent"]) if run["parent"] else None),
        ("progress", cell(_progress(run)) if run.get("progress") is not None else None),
        ("waits for", block("\n".join(_wait(wait, now) for wait in run["waits"])) if run.get("waits") else None),
        ("asked to", cell("cancel") if run.get("cancel_requested") else None),
    ]


def _fallback(run: Shape) -> Text | None:
    """What happens while the group is lost, where anybody said so."""
    source = run.get("fallback_source", "default")
    return None if source == "default" else cell(_said(run["fallback"], source))


def _said(value: str, source: str | None) -> str:
    """A value with who said so, where anybody did."""
    return value if source in (None, "default") else f"{value} (by the {source})"


def _worker(run: Shape) -> str:
    return f"{run['worker_pid']} on {run['server']}" if run.get("server") else str(run["worker_pid"])


def _progress(run: Shape) -> str:
    return " ".join(filter(None, (f"{run['progress']:.0%}", run.get("progress_note"))))


def _wait(wait: Shape, now: int) -> str:
    until = f", until {when(wait['wake_at'], now)}" if wait["wake_at"] else ""
    return f"{wait['kind']} {wait['key'] or wait['name']}{until}"


def _section(title: str, value: Any) -> list[RenderableType]:
    return [] if value is None else [Text(), Text(title, "dim"), as_json(value)]


def _error(error: Shape) -> list[RenderableType]:
    reason = f" ({error['reason']})" if error.get("reason") else ""
    head = Text("error", "dim")
    parts: list[RenderableType] = [head, block(f"{error['type']}{reason}: {error['message']}", "red")]
    if error.get("traceback"):
        parts.append(block(error["traceback"]))
    return parts


def _steps(steps: list[Shape], now: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("step", "state", "tries", "started", "took", "value"):
        table.add_column(title)
    for step in steps:
        value = told(step["error"]) if step.get("error") else _short(step["result"])
        table.add_row(
            cell(step["name"]),
            state(step["state"]),
            cell(step["attempts"]),
            cell(when(step["started_at"], now)),
            cell(_took(step)),
            cell(value),
        )
    return table


def _took(step: Shape) -> str:
    if not step["started_at"] or not step["finished_at"]:
        return ""
    took = datetime.fromisoformat(step["finished_at"]) - datetime.fromisoformat(step["started_at"])
    seconds = took.total_seconds()
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else span(seconds)


def _short(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
