"""Worker groups: a line or two for each, or one with all of its settings."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.tables import settings_table
from tako_lite.tui.text import STATE_STYLES, block, cell, line, span, state

Shape = dict[str, Any]

COLUMNS: Final = (
    Column("group"),
    Column("state"),
    Column("servers", rank=3, right=True),
    Column("workers", right=True),
    Column("due", right=True),
    Column("oldest", rank=1, right=True),
    Column("waiting", rank=2, right=True),
    Column("fallback", below=True, label=True),
    Column("tenants", below=True, label=True),
    Column("workflows", below=True, label=True, right=True),
    Column("description", below=True),
)


def groups_table(groups: list[Shape]) -> RenderableType:
    """A list of the groups, one a line; on a narrow screen their settings go on a second line."""
    return Listing(COLUMNS, map(_cells, groups), most_below=1) if groups else Text("no groups", "dim")


def _cells(group: Shape) -> list[Cell]:
    return [
        (line(group["name"]), "bold"),
        (line(group["state"]), STATE_STYLES.get(group["state"], "")),
        (str(len(group["servers"])), ""),
        (_workers(group), ""),
        (f"{group['due']:,}", ""),
        (span(group["oldest_wait_s"]), ""),
        (f"{group['waiting']:,}", ""),
        (line(group["fallback"]), ""),
        (_tenants(group), ""),
        (str(len(group["workflows"])), ""),
        (line(group["description"]), ""),
    ]


def group_view(group: Shape) -> RenderableType:
    """One group: its servers, its queue, the tenants that it allows, and its settings."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(group):
        if value is not None:
            facts.add_row(name, value)
    return Group(facts, Text(), settings_table(group["settings"]))


def _facts(group: Shape) -> list[tuple[str, RenderableType | None]]:
    servers = ", ".join(group["servers"])
    served = f"{len(group['servers'])} ({servers})" if servers else "0"
    return [
        ("group", block(group["name"], "bold")),
        ("description", block(group["description"]) if group["description"] else None),
        ("state", state(group["state"])),
        ("servers", cell(served)),
        ("workers", cell(_workers(group))),
        ("waits", block(_waits(group))),
        ("fallback", cell(f"{group['fallback']}, from {group['fallback_source']}")),
        ("tenants", block(_tenants(group))),
        ("workflows", block(", ".join(group["workflows"]) or "none")),
        ("last error", block(group["last_error"], "red") if group["last_error"] else None),
    ]


def _workers(group: Shape) -> str:
    live = sum(worker["state"] != "exited" for worker in group["workers"])
    return f"{live}/{group['max_workers']}"


def _waits(group: Shape) -> str:
    """The group's queue: the due runs and the age of the oldest, those due later, the parked and the running ones."""
    due = f"{group['due']:,} due"
    if group["due"] and group["oldest_wait_s"] is not None:
        due += f", the oldest for {span(group['oldest_wait_s'])}"
    later = group["pending"] - group["due"]
    return f"{due}; {later:,} later; {group['waiting']:,} parked; {group['running']:,} running"


def _tenants(group: Shape) -> str:
    allowed = group["allowed_tenants"]
    return "everyone" if allowed is None else ", ".join(map(line, allowed)) or "no tenant"
