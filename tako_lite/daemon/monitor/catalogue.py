"""Every series with its type, its labels and its help text. docs/monitoring.md has the same table; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from tako_lite.daemon.monitor.exposition import Family, Sample


class About(NamedTuple):
    """What is said of a series."""

    type: Literal["counter", "gauge", "histogram"]
    labels: str
    help: str


_RUN: Final = "group workflow"

SERIES: Final[dict[str, About]] = {
    # The daemon
    "tako_up": About("gauge", "", "1 while the daemon runs, 0 in what the command line prints without one"),
    "tako_build_info": About("gauge", "version python sqlite server", "always 1; the labels are the releases in use"),
    "tako_ready": About("gauge", "", "1 if the daemon can take and start runs"),
    # Runs
    "tako_runs_enqueued_total": About("counter", f"{_RUN} source", "runs stored, by what enqueued them"),
    "tako_runs_deduplicated_total": About(
        "counter", "workflow", "enqueues that stored nothing because the run existed already"
    ),
    "tako_attempts_total": About("counter", f"{_RUN} outcome", "attempts that ended, by outcome"),
    "tako_runs_finished_total": About("counter", f"{_RUN} state", "runs that ended, by state"),
    "tako_run_failures_total": About(
        "counter", f"{_RUN} state reason", "runs that ended dead or cancelled, by reason; it is empty if the handler raised"
    ),
    "tako_run_queue_seconds": About("histogram", "group", "time from when a run was due until a worker received it"),
    "tako_run_execution_seconds": About("histogram", _RUN, "time that attempts executed, without the time they were parked"),
    "tako_steps_total": About("counter", "group kind outcome", "steps that succeeded or failed, and waits that began"),
    "tako_tenant_attempts_total": About("counter", "tenant outcome", "attempts that ended, by tenant; needs `tenants = true`"),
    "tako_runs": About("gauge", "group state", "runs in the queue, by state; discarded runs are not counted"),
    "tako_runs_held": About("gauge", "group hold", "due runs that are held back, by what holds them"),
    "tako_oldest_due_seconds": About("gauge", "group", "how long the oldest due run has waited; 0 if none is due"),
    # Workers
    "tako_workers": About("gauge", "group state", "workers, by state"),
    "tako_worker_slots": About("gauge", "group", "runs that the workers can execute at a time"),
    "tako_worker_slots_busy": About("gauge", "group", "runs that the workers are executing"),
    "tako_worker_starts_total": About("counter", "group cause", "workers forked, by cause"),
    "tako_worker_start_seconds": About("histogram", "group", "cold start: time from the demand for a worker until it is ready"),
    "tako_worker_exits_total": About("counter", "group cause", "workers that ended, by cause"),
    "tako_worker_resident_bytes": About("gauge", "group", "resident memory of all workers of the group"),
    "tako_worker_resident_bytes_max": About("gauge", "group", "resident memory of the largest worker of the group"),
    "tako_group_state": About("gauge", "group state", "1 for the state that the group is in, 0 for the others"),
    "tako_group_paused": About("gauge", "group", "1 if the group is paused"),
    # Schedules and triggers
    "tako_schedule_next_timestamp_seconds": About(
        "gauge", "schedule", "when the schedule is due next; absent while it is paused"
    ),
    "tako_schedule_last_timestamp_seconds": About("gauge", "schedule", "the last slot for which the schedule enqueued a run"),
    "tako_schedule_missed_total": About(
        "counter", "schedule caught_up", "slots that were more than a minute late: run late (`yes`) or skipped (`no`)"
    ),
    "tako_trigger_evaluations_total": About("counter", "trigger outcome", "evaluations of polling triggers, by outcome"),
    # The queue
    "tako_store_commits_total": About("counter", "", "transactions committed"),
    "tako_store_commit_seconds": About("histogram", "", "duration of transactions, with their fsync"),
    "tako_store_operations_total": About("counter", "", "operations in these transactions; several share one commit"),
    "tako_store_errors_total": About("counter", "kind", "transactions that failed because of the file or the disk, by kind"),
    "tako_queue_file_bytes": About("gauge", "", "size of the queue file"),
    "tako_queue_wal_bytes": About("gauge", "", "size of the write-ahead log beside it"),
    "tako_queue_disk_free_bytes": About("gauge", "", "free space on the file system of the queue"),
    # Clients and logs
    "tako_clients": About("gauge", "", "clients connected to the control socket"),
    "tako_requests_total": About("counter", "command outcome", "requests of clients: `ok`, `refused` or `failed`"),
    "tako_log_lines_total": About("counter", "group", "lines that workers printed"),
    "tako_log_lines_dropped_total": About("counter", "group", "lines that were not logged: too many, or the file failed"),
    # The process
    "tako_loop_wakeups_total": About(
        "counter", "", "times that the event loop went to sleep; constant while the daemon is idle"
    ),
    "tako_loop_lag_seconds": About("gauge", "", "delay of the event loop at this scrape"),
    "process_cpu_seconds_total": About("counter", "", "processor time of the daemon"),
    "process_resident_memory_bytes": About("gauge", "", "resident memory of the daemon"),
    "process_virtual_memory_bytes": About("gauge", "", "virtual memory of the daemon"),
    "process_start_time_seconds": About("gauge", "", "when the daemon started, in seconds since 1970"),
    "process_open_fds": About("gauge", "", "open file descriptors of the daemon"),
    "process_max_fds": About("gauge", "", "its limit of file descriptors"),
    "tako_scrape_seconds": About("gauge", "", "time that this scrape took"),
}


def family(name: str, samples: Iterable[Sample]) -> Family:
    """The family of this name with its samples."""
    about = SERIES[name]
    return Family(name, about.type, about.help, list(samples))
