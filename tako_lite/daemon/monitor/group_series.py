"""The series about groups: their state and their workers."""

from __future__ import annotations

from collections import Counter
from typing import Final, get_args

from tako_lite.daemon.meter import GroupTotals
from tako_lite.daemon.monitor.catalogue import family
from tako_lite.daemon.monitor.exposition import Family, Sample, histogram_samples
from tako_lite.daemon.monitor.source import Source, bounded
from tako_lite.processes.group import Group
from tako_lite.states import GroupState

WORKER_STATES: Final = ("starting", "idle", "busy", "draining")
SHOWN_EXITS: Final = ("crash", "oom", "hung", "startup")
"""Causes of exits that each group has a series of before the first of them: `increase` needs a zero to begin with."""
NOTHING: Final = GroupTotals()


def group_families(source: Source) -> list[Family]:
    """The gauges and the counters of groups. Those beyond the bound of labels are left out, except in totals of the process."""
    labels = bounded(source.dispatcher.groups)
    groups = [group for name, group in source.dispatcher.groups.items() if labels[name] == name]
    totals = {group.name: source.meter.groups.get(group.name, NOTHING) for group in groups}
    return [
        family("tako_workers", [each for group in groups for each in _workers(group)]),
        family(
            "tako_worker_slots",
            [_of(group, sum(worker.slots for worker in group.workers if worker.takes_work)) for group in groups],
        ),
        family("tako_worker_slots_busy", [_of(group, _busy(source, group)) for group in groups]),
        family(
            "tako_worker_starts_total",
            [
                Sample({"group": name, "cause": cause}, number)
                for name, each in totals.items()
                for cause, number in each.starts.items()
            ],
        ),
        family(
            "tako_worker_start_seconds",
            [sample for name, each in totals.items() for sample in histogram_samples({"group": name}, each.start_times)],
        ),
        family(
            "tako_worker_exits_total",
            [
                Sample({"group": name, "cause": cause}, number)
                for name, each in totals.items()
                for cause, number in _exits(each).items()
            ],
        ),
        *_memory(groups),
        family(
            "tako_group_state",
            [
                Sample({"group": group.name, "state": state}, int(group.state == state))
                for group in groups
                for state in get_args(GroupState)
            ],
        ),
        family("tako_group_paused", [_of(group, int(group.paused)) for group in groups]),
    ]


def log_families(source: Source) -> list[Family]:
    """The counters of what workers print."""
    labels = bounded(source.dispatcher.groups)
    logs = {name: source.logs.groups.get(name) for name in source.dispatcher.groups if labels[name] == name}
    return [
        family(
            "tako_log_lines_total",
            [Sample({"group": name}, log.lines if log else 0) for name, log in logs.items()],
        ),
        family(
            "tako_log_lines_dropped_total",
            [Sample({"group": name}, log.dropped if log else 0) for name, log in logs.items()],
        ),
    ]


def _of(group: Group, value: float) -> Sample:
    return Sample({"group": group.name}, value)


def _workers(group: Group) -> list[Sample]:
    states = Counter(worker.state for worker in group.workers)
    return [Sample({"group": group.name, "state": state}, states.get(state, 0)) for state in WORKER_STATES]


def _busy(source: Source, group: Group) -> int:
    sessions = source.dispatcher.sessions
    return sum(len(sessions[worker].assignments) for worker in group.workers if worker in sessions)


def _exits(totals: GroupTotals) -> dict[str, int]:
    return {**dict.fromkeys(SHOWN_EXITS, 0), **totals.exits}


def _memory(groups: list[Group]) -> list[Family]:
    """The resident memory of workers, read from /proc now."""
    resident = {
        group.name: [worker.child.resident_bytes or 0 for worker in group.workers if worker.child is not None]
        for group in groups
    }
    return [
        family(
            "tako_worker_resident_bytes",
            [Sample({"group": name}, sum(sizes)) for name, sizes in resident.items()],
        ),
        family(
            "tako_worker_resident_bytes_max",
            [Sample({"group": name}, max(sizes, default=0)) for name, sizes in resident.items()],
        ),
    ]
