"""The snapshot of `status` as a table for a terminal, or as plain lines."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from tako_lite.clock import local
from tako_lite.tui.listing import Cell, Column, Listing
from tako_lite.tui.text import STATE_STYLES, block, cell, line, span
from tako_lite.units import size_text

Snapshot = dict[str, Any]


def _live(group: Snapshot) -> int:
    return sum(worker["state"] != "exited" for worker in group["workers"])


def _busy(group: Snapshot) -> str:
    slots = _live(group) * group["concurrency"]
    return f"{group['busy']}/{slots}" if slots else str(group["busy"])


def _count(group: Snapshot, key: str, style: str = "") -> Cell:
    number = group.get(key, 0)
    return f"{number:,}", style if number else "dim"


COLUMNS: Final = (
    Column("group"),
    Column("state"),
    Column("workers", right=True),
    Column("busy", rank=2, right=True),
    Column("pending", right=True),
    Column("waiting", rank=3, right=True),
    Column("oldest", rank=1, right=True),
    Column("done/min", rank=6, right=True),
    Column("failed/min", rank=5, right=True),
    Column("dead", rank=4, right=True),
    Column("servers", rank=7, right=True, from_width=120),
    Column("last error", below=True, from_width=110),
)


def _cells(group: Snapshot, *, has_servers: bool) -> list[Cell]:
    return [
        (line(group["name"]), "bold"),
        (line(group["state"]), STATE_STYLES.get(group["state"], "")),
        (f"{_live(group)}/{group['max_workers']}", ""),
        (_busy(group), ""),
        _count(group, "pending"),
        _count(group, "waiting"),
        (span(group.get("oldest_wait_s") or None), ""),
        _count(group, "done_a_minute"),
        _count(group, "failed_a_minute", "red"),
        _count(group, "dead", "red"),
        (str(len(group.get("servers", ()))) if has_servers else "", ""),
        (line(group.get("last_error")), "red"),
    ]


SERVERS: Final = (
    Column("server"),
    Column("host"),
    Column("groups"),
    Column("workers", right=True),
    Column("started", rank=2),
    Column("lease until", rank=1),
    Column("version", rank=3),
)


def _server_cells(server: Snapshot) -> list[Cell]:
    return [
        (line(server["name"]), "bold"),
        (line(server["host"]), ""),
        (line(", ".join(server["groups"])), ""),
        (str(server["workers"]), ""),
        (line(server["started_at"]), ""),
        (line(server["lease_until"]), ""),
        (line(server["version"]), ""),
    ]


def status_view(snapshot: Snapshot) -> RenderableType:
    """A table of the groups, with as many columns as fit, and below it the daemon, the queue and warnings."""
    below: list[RenderableType] = []
    servers = snapshot.get("servers")
    if servers:
        below += [Listing(SERVERS, map(_server_cells, servers)), Text()]
    below += [block(_daemon_line(snapshot)), *_queue_lines(snapshot)]
    below += [block(f"warning: {warning}", "yellow") for warning in snapshot.get("warnings", ())]
    rows = [_cells(group, has_servers=bool(servers)) for group in snapshot["groups"]]
    return Group(Listing(COLUMNS, rows), Text(), *below)


def status_lines(snapshot: Snapshot, now: int) -> list[str]:
    """One plain line for each group, starting with the time: for a pipe or a log."""
    moment = local(now).replace(" ", "T")  # one word, as every other field of the line
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
        servers = [server["name"] for server in snapshot.get("servers", ())]
        return (
            f"no daemon on this machine; {' and '.join(servers)} serve{'s' if len(servers) == 1 else ''} the queue"
            if servers
            else "no daemon is running"
        )
    up = span(daemon["uptime_s"])
    return f"daemon {daemon['pid']} on {daemon['server']}, version {daemon['version']}, up {up}"


def _queue_lines(snapshot: Snapshot) -> list[Text]:
    queue = snapshot.get("queue") or {}
    if not queue.get("file_bytes"):
        return []
    size = size_text(queue["file_bytes"])
    if "address" in queue:
        return [cell(f"queue {queue['address']} (schema {queue['schema']}), {size}")]
    return [cell(f"queue file {size}")]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
