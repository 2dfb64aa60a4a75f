"""The states of runs, workers and groups, and the moves of a run that are legal."""

from __future__ import annotations

from typing import Final, Literal

RunState = Literal["pending", "running", "waiting", "succeeded", "cancelled", "dead"]
WorkerState = Literal["starting", "idle", "busy", "draining", "exited"]
GroupState = Literal["zero", "starting", "active", "paused", "backoff", "unhealthy"]

RUN_STATES: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "succeeded", "cancelled", "dead")
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
