"""The states of runs, workers and groups, and the legal moves of runs and workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

RunState = Literal["pending", "running", "waiting", "succeeded", "cancelled", "dead"]
WorkerState = Literal["starting", "idle", "busy", "draining", "exited"]
AttemptKind = Literal[
    "succeeded",
    "failed",
    "timeout",
    "crashed",
    "bailed",
    "cancelled",
    "parked",
    "postponed",
    "released",
    "interrupted",
]
"""How an attempt ended. `released` by a worker that was stopped, `interrupted` by the end of its worker or daemon that the run
had no part in; neither counts as an attempt, nor do `parked` and `postponed`."""
GroupState = Literal["zero", "starting", "active", "paused", "backoff", "unhealthy"]

RUN_STATES: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "succeeded", "cancelled", "dead")
HAS: Final = (
    "children", "crashes", "error", "key", "parent", "progress", "retries", "steps", "tenant", "waits",
)  # fmt: skip
"""What a filter may ask of a run: whether it has any."""
TERMINAL: Final[frozenset[RunState]] = frozenset({"succeeded", "cancelled", "dead"})

MOVES: Final[dict[RunState, frozenset[RunState]]] = {
    "pending": frozenset({"running", "cancelled", "dead"}),
    "running": frozenset({"pending", "waiting", "succeeded", "cancelled", "dead"}),
    "waiting": frozenset({"pending", "cancelled", "dead"}),
    "succeeded": frozenset(),
    "cancelled": frozenset({"pending"}),
    "dead": frozenset({"pending"}),
}
"""From each state the states that may follow; out of a terminal one only `retry` leads."""

WORKER_STATES: Final[tuple[WorkerState, ...]] = ("starting", "idle", "busy", "draining", "exited")
WORKER_MOVES: Final[dict[WorkerState, frozenset[WorkerState]]] = {
    "starting": frozenset({"idle", "draining", "exited"}),
    "idle": frozenset({"busy", "draining", "exited"}),
    "busy": frozenset({"idle", "draining", "exited"}),
    "draining": frozenset({"exited"}),
    "exited": frozenset(),
}
"""The same for workers. A kill is no state: the worker exits once its process is confirmed dead."""


def begun(run: Mapping[str, Any]) -> int:
    """How many attempts of a run have begun: the stored count does not include the one that is running or parked."""
    attempts: int = run["attempts"]
    return attempts + (run["state"] in ("running", "waiting"))
