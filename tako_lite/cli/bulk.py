"""Bulk actions of the command line: one command to the daemon for all runs that match the filters, with its progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from tako_lite.cli.filter_names import check_names
from tako_lite.cli.options import wants_json, without_none
from tako_lite.cli.output import console, note
from tako_lite.cli.queue import QueueReader
from tako_lite.records import new_id
from tako_lite.units import counted

Answer = dict[str, Any]


def named_ids(queue: QueueReader, endings: Sequence[str], chosen: dict[str, Any]) -> list[str] | None:
    """The ids of the named runs, or None where filters choose the runs. Raises UsageError for both, and for neither."""
    everything = chosen.pop("everything")
    if endings:
        if without_none(**chosen) or everything:
            raise click.UsageError("give runs or filters, not both")
        return list(dict.fromkeys(queue.ask("find", ending=ending)["id"] for ending in endings))
    if not without_none(**chosen) and not everything:
        raise click.UsageError("give runs, a filter, or --all")
    return None


def count(queue: QueueReader, chosen: dict[str, Any], states: Sequence[str]) -> int:
    """How many runs a bulk action would be about. Raises NotFound for an unknown workflow or group."""
    filters = {"states": list(states), **filters_of(queue, chosen)}
    number: int = queue.ask("count", **filters)["count"]
    if not number:
        check_names(queue, workflow=chosen.get("workflow"), group=chosen.get("group"))
    return number


def run_bulk(queue: QueueReader, action: str, chosen: dict[str, Any], **options: Any) -> Answer:
    """Carry out a bulk action and return its answer. Ctrl-C stops it after the current slice.

    Raises NotFound for an unknown workflow or group, and UsageError for an error in the middle.
    """
    id, filters = new_id(), filters_of(queue, chosen)
    call = queue.client.call
    try:
        while not (answer := call("bulk", bulk_id=id, action=action, filter=filters, **options))["done"]:
            if console().is_terminal and not wants_json():
                note(f"{answer['changed']:,} of {counted(answer['matched'], 'run')}")
    except KeyboardInterrupt:
        answer = call("stop_bulk", bulk_id=id)
        sys.stderr.write("stopped\n")
    if answer["error"]:
        raise click.UsageError(f"stopped after {counted(answer['changed'], 'run')}: {answer['error']}")
    if not answer["matched"]:
        check_names(queue, workflow=chosen.get("workflow"), group=chosen.get("group"))
    return answer


def filters_of(queue: QueueReader, chosen: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a filter from the options of a command: an ending of the parent's id becomes the whole id."""
    filters = without_none(**chosen)
    if "parent" in filters:
        filters["parent"] = queue.ask("find", ending=filters["parent"])["id"]
    if "states" in filters:
        filters["states"] = list(filters["states"])
    if "has" in filters:
        filters["has"] = list(filters["has"])
    return filters
