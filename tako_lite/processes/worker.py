"""One worker of a group, and what a group needs of whoever talks to its workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tako_lite.processes.child import Child, Exit
from tako_lite.states import WorkerState

if TYPE_CHECKING:
    from tako_lite.processes.group import Group


class Worker:
    """One process of a group. `slots` are the runs that it takes at a time; a solo worker has one, for a suspect run."""

    def __init__(self, group: Group, slots: int, solo: bool) -> None:
        self.group = group
        self.slots = slots
        self.solo = solo
        self.state: WorkerState = "starting"
        self.child: Child | None = None
        self.idle_since: float = 0.0
        self.ready_at: float = 0.0
        self.runs_done = 0
        self.asked_to_stop = False
        self.is_dead = False
        self.deadline: asyncio.TimerHandle | None = None
        self.killed: str | None = None
        """Why we killed it, as a key of `daemon.events.KILLED`."""
        self.killed_for: str | None = None
        """The run because of which we did."""
        self.trouble: str | None = None
        """Why it could not start, in its own words."""

    @property
    def pid(self) -> int:
        return self.child.pid if self.child is not None else 0

    @property
    def takes_work(self) -> bool:
        return self.state in ("idle", "busy") and not self.is_dead


class Owner(Protocol):
    """What a group needs of the daemon."""

    async def spawn(self, worker: Worker, on_death: Callable[[Child], None]) -> Child: ...
    def ask_to_stop(self, worker: Worker) -> None: ...
    def worker_gone(self, worker: Worker, exit: Exit) -> None: ...
    def group_changed(self, group: Group) -> None: ...
    def expects_work(self, group: Group, *, solo: bool) -> bool: ...
