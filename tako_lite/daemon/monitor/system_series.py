"""The series about the daemon itself: its process, its loop, the store, the sockets, schedules and triggers."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from tako_lite import __version__
from tako_lite.daemon.monitor.catalogue import family
from tako_lite.daemon.monitor.exposition import Family, Sample, histogram_samples
from tako_lite.daemon.monitor.source import Source, bounded, evaluations
from tako_lite.linux import read_process, resident_bytes
from tako_lite.store.opening import Queue

SHOWN_ERRORS: Final = ("full", "io", "busy", "corrupt", "gone")
SHOWN_OUTCOMES: Final = ("succeeded", "failed")


def state_families(source: Source) -> list[Family]:
    """What the daemon is, and whether it is ready."""
    about = {
        "version": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "server": source.config.server,
    }
    return [
        family("tako_up", [Sample({}, 1)]),
        family("tako_build_info", [Sample(about, 1)]),
        family("tako_ready", [Sample({}, int(not source.readiness.reasons()))]),
    ]


def schedule_families(source: Source) -> list[Family]:
    """The series of schedules and triggers."""
    slots = source.scheduler.slots()
    labels = bounded(schedule.workflow for schedule, _ in slots)
    shown = [(schedule, next_at) for schedule, next_at in slots if labels[schedule.workflow] == schedule.workflow]
    missed = source.scheduler.missed
    evaluated: Counter[tuple[str, str]] = Counter(
        {(name, outcome): 0 for name in source.catalog.triggers for outcome in SHOWN_OUTCOMES}
    )
    triggers = bounded((*source.catalog.triggers, *(name for name, _ in evaluations(source))))
    for name, totals in evaluations(source):
        for kind, number in totals.attempts.items():
            evaluated[triggers[name], kind] += number
    return [
        family(
            "tako_schedule_next_timestamp_seconds",
            [Sample({"schedule": schedule.workflow}, next_at / 1000) for schedule, next_at in shown if next_at is not None],
        ),
        family(
            "tako_schedule_last_timestamp_seconds",
            [Sample({"schedule": each.workflow}, each.fired_at / 1000) for each, _ in shown if each.fired_at is not None],
        ),
        family(
            "tako_schedule_missed_total",
            [
                Sample({"schedule": schedule.workflow, "caught_up": caught_up}, missed[schedule.workflow, caught_up])
                for schedule, _ in shown
                for caught_up in ("yes", "no")
            ],
        ),
        family(
            "tako_trigger_evaluations_total",
            [Sample({"trigger": name, "outcome": outcome}, number) for (name, outcome), number in evaluated.items()],
        ),
    ]


def store_families(source: Source) -> list[Family]:
    """The series of the queue's transactions and of its files."""
    counts = source.store.counts
    errors = {**dict.fromkeys(SHOWN_ERRORS, 0), **counts.errors}
    found = [
        family("tako_store_commits_total", [Sample({}, sum(counts.commit_ms.counts))]),
        family(
            "tako_store_commit_seconds",
            histogram_samples({}, counts.commit_ms),
        ),
        family(
            "tako_store_operations_total",
            [Sample({}, counts.operations)],
        ),
        family(
            "tako_store_errors_total",
            [Sample({"kind": kind}, number) for kind, number in errors.items()],
        ),
    ]
    return [*found, *file_families(source.config.queue.location)]


def file_families(location: Queue) -> list[Family]:
    """The sizes of the queue's files, which are not opened, and the free space beside them."""
    found: list[Family] = []
    files = list(location.files())
    if not files:
        return found
    file, wal, *_ = files
    with suppress(OSError):
        found.append(family("tako_queue_file_bytes", [Sample({}, file.stat().st_size)]))
        size = wal.stat().st_size if wal.exists() else 0
        found.append(family("tako_queue_wal_bytes", [Sample({}, size)]))
        disk = os.statvfs(file.parent)
        found.append(family("tako_queue_disk_free_bytes", [Sample({}, disk.f_bavail * disk.f_frsize)]))
    return found


def control_families(source: Source) -> list[Family]:
    """The series of the control socket."""
    return [
        family("tako_clients", [Sample({}, source.control.clients)]),
        family(
            "tako_requests_total",
            [
                Sample({"command": command, "outcome": outcome}, number)
                for (command, outcome), number in source.control.requests.items()
            ],
        ),
    ]


def process_families(lag: float) -> list[Family]:
    """The series of the daemon's process, as client libraries of Prometheus name them; `lag` is in seconds."""
    own, usage = os.getpid(), resource.getrusage(resource.RUSAGE_SELF)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    thread = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    families = [
        family("tako_loop_wakeups_total", [Sample({}, thread.ru_nvcsw)]),
        family("tako_loop_lag_seconds", [Sample({}, lag)]),
        family(
            "process_cpu_seconds_total",
            [Sample({}, usage.ru_utime + usage.ru_stime)],
        ),
        family("process_resident_memory_bytes", [Sample({}, resident_bytes(own) or 0)]),
    ]
    if (process := read_process(own)) is not None:
        began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + process.started / os.sysconf("SC_CLK_TCK")
        families += [
            family("process_start_time_seconds", [Sample({}, round(began, 2))]),
            family("process_virtual_memory_bytes", [Sample({}, _virtual_bytes())]),
            family("process_open_fds", [Sample({}, _open_descriptors())]),
        ]
    families.append(family("process_max_fds", [Sample({}, soft)]))
    return families


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
