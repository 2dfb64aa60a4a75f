"""The commands of the control socket, in one table that the clients and the daemon share.

A client imports this module at every start, so it stays small: the typed arguments are in `protocol.arguments`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

Handler = Callable[[Any], Awaitable[dict[str, Any]]]
"""Executes a command in the daemon: takes its typed arguments and returns its answer."""
PAGE: Final = 100
"""Maximum number of runs in one answer: each may carry a payload and a result of 1 MiB."""


class Command(NamedTuple):
    """The facts of a command.

    `arguments` names its class in `protocol.arguments`. `offline` says that a client may answer it from the files while no
    daemon runs, by reading or by writing the queue; `shared` writes only a queue that other servers may serve.
    """

    arguments: str
    offline: Literal["reads", "writes", "shared"] | None = None
    audit: Literal["always", "people", "web"] | None = None
    """For whom an entry in the activity is stored: for programs too, for the command line and the dashboard, or for that."""
    is_repeatable: bool = True
    """A client may send it again after a lost reply."""
    is_slow: bool = False
    """The reply may take longer than a client waits for other replies."""
    own_folder_only: bool = False
    """Only for clients in the daemon's own folder: each request is checked, not only the first of a connection."""
    starts_no_daemon: bool = False
    """Where a service manager listens for a daemon that is not running, this command must not start it. Neither does one that
    files can answer by reading."""
    runs_to_completion: bool = False
    """The daemon stores something and then acts on it, so a client that hangs up must not cancel the second part."""


COMMANDS: Final[dict[str, Command]] = {
    "enqueue": Command("Enqueue", "writes", audit="web"),
    "enqueue_many": Command("EnqueueMany", "writes"),
    "signal": Command("Signal", "writes", audit="people"),
    "wake": Command("Wake"),
    "cancel": Command("Cancel", "writes", audit="always"),
    "discard": Command("Discard", "writes", audit="always"),
    "retry": Command("Retry", "writes", audit="always"),
    "run_now": Command("RunNow", "writes", audit="always"),
    "move": Command("MoveRuns", "writes", audit="always"),
    "edit": Command("Edit", "writes", audit="always"),
    "bulk": Command("Bulk", "writes"),  # it keeps its own entry in the activity up to date
    "stop_bulk": Command("StopBulk"),
    "count": Command("Filter", "reads"),
    "activity": Command("ActivityPage", "reads"),
    "minutes": Command("Minutes", "reads"),
    "find": Command("Find", "reads"),
    "get": Command("OneRun", "reads"),
    "wait": Command("Wait"),
    "runs": Command("Filter", "reads"),
    "ids": Command("Filter", "reads"),
    "why": Command("OneRun", "reads"),
    "status": Command("Nothing", "reads"),
    "schedules": Command("Nothing", "reads"),
    "pause_schedule": Command("PauseSchedule", audit="always", runs_to_completion=True),
    "run_schedule": Command("OneSchedule", audit="always", is_repeatable=False),  # the daemon makes the id of the run
    "triggers": Command("Nothing", "reads"),
    "pause_trigger": Command("PauseTrigger", audit="always", runs_to_completion=True),
    "run_trigger": Command("OneTrigger", audit="always"),
    "workflows": Command("Nothing", "reads"),
    "pause": Command("PauseGroup", "shared", audit="always", runs_to_completion=True),
    "resume": Command("OneGroup", "shared", audit="always", runs_to_completion=True),
    "scale": Command("Scale", "shared", audit="always", runs_to_completion=True),
    "move_group": Command("MoveGroup", "writes", audit="always", runs_to_completion=True),
    "health": Command("Health"),
    "metrics": Command("Nothing"),
    "reload": Command(
        "Nothing", audit="always", is_slow=True, own_folder_only=True, runs_to_completion=True, starts_no_daemon=True
    ),
    "stop": Command("Stop", audit="always", starts_no_daemon=True),
    "prune": Command("Nothing", audit="always", is_slow=True),
    "backup": Command("Backup", "reads", is_slow=True),  # it makes a file, but only reads the queue
}


def facts_of(command: str) -> Command:
    """The facts of a command. A command that only a newer daemon knows needs that daemon, and may be sent again."""
    return COMMANDS.get(command, _UNKNOWN)


_UNKNOWN: Final = Command("Nothing")
