"""One worker of a group, and what a group needs of its owner.

`Worker` alone writes what is true of a worker; groups, sessions and the dispatcher call its methods. A worker moves through
these states, as `states.WORKER_MOVES` lists them:

    starting ──ready──▶ idle ◀──────▶ busy
        │                │             │     retired, or over max_runs or max_memory
        └────────────────┴──────┬──────┘
                                ▼
                            draining ──────▶ exited       (a crash or a kill leads there from every state)

A death charges the runs of a worker with a crash, unless the daemon asked the worker to stop (`asked_to_stop`) or killed it
because of one run (`killed_for`): then the other runs are re-queued, uncharged. A worker that lost its link (`is_lost`) takes
no more work, though its process may live for a moment: what is pushed to it would never arrive.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, Protocol

from tako_lite.processes.child import Child, Exit
from tako_lite.states import WORKER_MOVES, WorkerState

if TYPE_CHECKING:
    from tako_lite.processes.group import Group


StartCause = Literal["always_on", "demand", "replace", "crash", "reload", "retry"]
"""Why a worker was started: to have the always-on ones, for due runs, after the end or the crash of another, after a reload, or
after a failed start."""
RetireReason = Literal["idle", "max_runs", "max_memory", "reload", "scale", "stop"]
KILL_CAUSES: Final = {"silent": "hung", "timeout": "timeout", "cancelled": "cancelled", "stop": "stop"}
"""What the reason of a kill counts as, where that is not why the worker was retired."""


class Worker:
    """One process of a group. `slots` are the runs that it takes at a time; a solo worker has one, for a suspect run."""

    def __init__(self, group: Group, slots: int, solo: bool, cause: StartCause) -> None:
        self.group = group
        self.slots = slots
        self.solo = solo
        self.cause = cause
        self.state: WorkerState = "starting"
        self.child: Child | None = None
        self.idle_since: float = 0.0
        self.ready_at: float = 0.0
        """When it got ready, by the loop's clock; 0 before that."""
        self.runs_done = 0
        self.asked_to_stop = False
        self.is_lost = False
        self.killed: str | None = None
        """Why the daemon killed it, as a key of `daemon.events.KILLED`."""
        self.killed_for: str | None = None
        """The run because of which the daemon did."""
        self.retired_for: RetireReason | None = None
        """Why it takes no more work."""
        self.start_error: str | None = None
        """Why it could not start, in its own words."""
        self._deadline: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.spawned_at = self._loop.time()
        self.started_at = time.time_ns() // 1_000_000
        """The same moment for people, in milliseconds since 1970."""

    @property
    def pid(self) -> int:
        return self.child.pid if self.child is not None else 0

    @property
    def takes_work(self) -> bool:
        return self.state in ("idle", "busy") and not self.is_lost

    # Work

    def become_ready(self) -> None:
        """The worker has imported its modules: it has nothing to do, and no deadline."""
        self.clear_deadline()
        self.ready_at = self._loop.time()
        self.become_idle()

    def become_busy(self) -> None:
        """The worker got runs."""
        if self.state == "idle":
            self._move("busy")

    def become_idle(self) -> None:
        """The worker has nothing to do."""
        self.idle_since = self._loop.time()
        self._move("idle")

    # Ends

    def drain(self, reason: RetireReason | None = None) -> None:
        """Take no more work, and keep the first reason."""
        self.retired_for = self.retired_for or reason
        self._move("draining")

    def retire(self, reason: RetireReason) -> bool:
        """Take no more work, and end; False if it was asked to stop before or has exited."""
        if self.asked_to_stop or self.state == "exited":
            return False
        self.asked_to_stop = True
        self.drain(reason)
        return True

    def fail_to_start(self, error: str) -> None:
        """Keep why the worker could not start."""
        self.start_error = error

    def kill(self, reason: str) -> None:
        """Kill the process, if it still runs, and keep the first reason."""
        if self.child is not None and not self.child.has_ended:
            self.killed = self.killed or reason
            self.child.kill()

    def kill_uncharged(self, reason: str) -> None:
        """Kill the process without charging its runs."""
        self.asked_to_stop = True
        self.kill(reason)

    def kill_for(self, run_id: str, reason: str) -> None:
        """Kill the process because of one run; the others are not charged."""
        self.killed_for = self.killed_for or run_id
        self.drain()
        self.kill_uncharged(reason)

    def lose_link(self) -> None:
        """Take no more work: what is pushed from now on never arrives."""
        self.is_lost = True

    def exit(self) -> None:
        """The process is confirmed dead, with all that it started."""
        self.clear_deadline()
        self._move("exited")

    # Deadlines

    def set_deadline(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, in place of what an earlier deadline would do."""
        self.clear_deadline()
        self._deadline = self._loop.call_later(seconds, action)

    def clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _move(self, state: WorkerState) -> None:
        """Enter a state, where that is legal: an event that comes too late for its move changes nothing."""
        if state in WORKER_MOVES[self.state]:
            self.state = state


def exit_cause(worker: Worker, exit: Exit) -> str:
    """Why a worker ended, in a word that metrics have as a label.

    `oom` is a SIGKILL that the daemon did not send: usually the kernel's, for want of memory.
    """
    if worker.killed in KILL_CAUSES:
        return KILL_CAUSES[worker.killed]
    if worker.retired_for is not None:
        return worker.retired_for
    if not worker.ready_at:
        return "startup"
    return "oom" if exit.code == -signal.SIGKILL and worker.killed is None else "crash"


class Owner(Protocol):
    """What a group needs of the daemon."""

    async def spawn(self, worker: Worker, on_death: Callable[[Child], None]) -> Child:
        """Fork a worker and connect to it. Raises what keeps it from starting."""

    def ask_to_stop(self, worker: Worker) -> None:
        """Let a worker finish what it has, and end."""

    def worker_gone(self, worker: Worker, exit: Exit) -> None:
        """A worker is confirmed dead."""

    def group_changed(self, group: Group) -> None:
        """A group failed to start, or a worker of it is gone."""

    def expects_work(self, group: Group, *, solo: bool) -> bool:
        """Whether a free slot of a group is about to be filled."""
