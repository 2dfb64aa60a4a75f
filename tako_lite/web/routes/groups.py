"""The worker groups, and one of them."""

from __future__ import annotations

from typing import Any, Final

from tako_lite.config import load
from tako_lite.config.settings import SETTINGS
from tako_lite.errors import CatalogError
from tako_lite.group_report import described_groups
from tako_lite.routing import unknown_group
from tako_lite.units import counted
from tako_lite.web.charts import charts
from tako_lite.web.page import Document, Page, Shown, Visit
from tako_lite.web.pauses import pauses
from tako_lite.web.routes.overview import cells


def groups(visit: Visit) -> Shown:
    """The groups with their workers and settings; the twin of `groups`."""
    return Shown("groups.html", "Groups", {"groups": described(visit)}, {"cells": cells})


def group(visit: Visit) -> Shown:
    """One group with all of its settings; the twin of `groups NAME`."""
    name = visit.path["name"]
    found = described(visit)
    chosen = [shape for shape in found if shape["name"] == name]
    if not chosen:
        raise unknown_group(name, [shape["name"] for shape in found])
    view = {
        "group": chosen[0],
        "sentence": sentence(chosen[0]),
        "pause": pauses(visit, "pause").get(name),
        "cells": cells,
        "charts": charts(visit, group=name),
        "text": setting_text,
    }
    return Shown("group.html", f"{name} {chosen[0]['state']}", {"groups": chosen}, view)


def described(visit: Visit) -> list[Document]:
    """The groups as the daemon, or the files without one, describe them."""
    snapshot = visit.status or visit.ask("status")
    config = load(visit.site.config.file, server=snapshot["daemon"]["server"] if snapshot["daemon"] else None)
    try:
        catalog = visit.site.project.catalog()
    except CatalogError:
        catalog = None
    return described_groups(snapshot, config, catalog)


def setting_text(name: str, value: Any) -> str:
    """The value of a setting as `tako-lite groups` prints it; empty if it is not set."""
    return "" if value is None else SETTINGS[name].text(value)


def sentence(group: dict[str, Any]) -> str:
    """What the state of a group means for its runs."""
    live = sum(worker["state"] != "exited" for worker in group["workers"])
    match group["state"]:
        case "zero":
            return "No worker is running, and none is needed. The next run starts one."
        case "starting":
            return "Its first worker is starting."
        case "paused":
            return "It is paused: running runs continue, and no other run starts until it is resumed."
        case "backoff":
            return "Its last worker failed to start. Another start follows soon."
        case "unhealthy":
            return "Its workers fail to start. Another start follows every 30 s, and at once after a change of its files."
    return f"{live} of up to {counted(group['max_workers'], 'worker')} {'is' if live == 1 else 'are'} running."


PAGES: Final = (Page("/groups", groups, watches="workers"), Page("/groups/{name}", group, watches="workers", clock=60))
