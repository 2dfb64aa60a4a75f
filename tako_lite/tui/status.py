"""The snapshot of `status` as a table for a terminal, or as plain lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tako_lite.clock import iso
from tako_lite.tui.text import block, cell, span, state
from tako_lite.units import size_text

Snapshot = dict[str, Any]


class Column(NamedTuple):
    """A column; it is left out where the terminal is narrower than `from_width`."""

    title: str
    from_width: int
    content: Callable[[Snapshot], Text]
    right: bool = True


def _live(group: Snapshot) -> int:
    return sum(worker["state"] != "exited" for worker in group["workers"])


def _busy(group: Snapshot) -> str:
    slots = _live(group) * group["concurrency"]
    return f"{group['busy']}/{slots}" if slots else str(group["busy"])


def _count(key: str, style: str = "") -> Callable[[Snapshot], Text]:
    def content(group: Snapshot) -> Text:
        number = group.get(key, 0)
        return cell(f"{number:,}", style if number else "dim")

    return content


COLUMNS: Final = (
    Column("group", 0, lambda group: cell(group["name"], "bold"), right=False),
    Column("state", 0, lambda group: state(group["state"]), right=False),
    Column("workers", 0, lambda group: cell(f"{_live(group)}/{group['max_workers']}")),
    Column("busy", 60, lambda group: cell(_busy(group))),
    Column("pending", 0, _count("pending")),
    Column("waiting", 72, _count("waiting")),
    Column("oldest", 60, lambda group: cell(span(group.get("oldest_wait_s") or None))),
    Column("done/min", 90, _count("done_a_minute")),
    Column("failed/min", 90, _count("failed_a_minute", "red")),
    Column("dead", 72, _count("dead", "red")),
    Column("servers", 120, lambda group: cell(len(group.get("servers", ())))),
    Column("last error", 110, lambda group: cell(group.get("last_error"), "red"), right=False),
)


def status_view(snapshot: Snapshot, width: int) -> RenderableType:
    """A table of the groups, with as many columns as fit, and below it the daemon, the queue file and warnings."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    columns = [column for column in COLUMNS if width >= column.from_width]
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left")
    for group in snapshot["groups"]:
        table.add_row(*(column.content(group) for column in columns))
    below: list[RenderableType] = [cell(_daemon_line(snapshot)), *(_queue_lines(snapshot))]
    below += [block(f"warning: {warning}", "yellow") for warning in snapshot.get("warnings", ())]
    if width < COLUMNS[-1].from_width:
        below += [
            cell(f"{group['name']}: {group['last_error']}", "red") for group in snapshot["groups"] if group.get("last_error")
        ]
    return Group(table, Text(), *below)


def status_lines(snapshot: Snapshot, now: int) -> list[str]:
    """One plain line for each group, with the time in front: for a pipe or a log."""
    moment = iso(now)
    lines = [
        f"{moment} {group['name']} {group['state']} workers={_live(group)}/{group['max_workers']} busy={_busy(group)} "
        f"pending={group['pending']} waiting={group['waiting']} oldest={span(group.get('oldest_wait_s')) or '-'} "
        f"done/min={group.get('done_a_minute', 0)} failed/min={group.get('failed_a_minute', 0)} dead={group['dead']} "
        f"servers={len(group.get('servers', ()))}"
        + (f" error={_first_line(group['last_error'])}" if group.get("last_error") else "")
        for group in snapshot["groups"]
    ]
    return lines or [f"{moment} no groups"]


def _daemon_line(snapshot: Snapshot) -> str:
    daemon = snapshot.get("daemon")
    if daemon is None:
        return "no daemon is running"
    up = span(daemon["uptime_s"])
    return f"daemon {daemon['pid']} on {daemon['server']}, version {daemon['version']}, up {up}"


def _queue_lines(snapshot: Snapshot) -> list[Text]:
    queue = snapshot.get("queue") or {}
    return [cell(f"queue file {size_text(queue['file_bytes'])}")] if queue.get("file_bytes") else []


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
