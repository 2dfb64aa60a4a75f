"""The series that the queue file has while no daemon runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako_lite.daemon.monitor.catalogue import family
from tako_lite.daemon.monitor.exposition import Family, Sample
from tako_lite.daemon.monitor.system_series import file_families
from tako_lite.store.opening import Queue


def offline_families(status: Mapping[str, Any], location: Queue) -> list[Family]:
    """The families for a snapshot of `status` that was read from the files."""
    groups = status["groups"]
    states = [(group["name"], {"due": group["due"], "scheduled": group["pending"] - group["due"], **group}) for group in groups]
    return [
        family("tako_up", [Sample({}, 0)]),
        family("tako_ready", [Sample({}, 0)]),
        family(
            "tako_runs",
            [
                Sample({"group": name, "state": state}, numbers[state])
                for name, numbers in states
                for state in ("due", "scheduled", "running", "waiting", "dead")
            ],
        ),
        family("tako_oldest_due_seconds", [Sample({"group": group["name"]}, group["oldest_wait_s"] or 0) for group in groups]),
        family("tako_group_paused", [Sample({"group": group["name"]}, int(group["state"] == "paused")) for group in groups]),
        *file_families(location),
    ]
