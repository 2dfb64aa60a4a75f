"""Runs that are claimed before a slot is free for them.

A group whose runs take a few milliseconds spends most of its time waiting for commits: a result is stored, the next run is
claimed, and only then does its worker have something to do. So the dispatcher claims some runs ahead. A slot that becomes free
gets one of them at once, while the result of the run before is being stored.

Nobody relies on a claim ahead: the runs are released as soon as no slot has become free for `HELD_FOR` seconds, when
the group is paused or reloaded, when the daemon stops, and when a run arrives that is to start earlier. They belong to no
worker: whichever has a free slot gets the next one, so none waits behind a slow run.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tako_lite.records import Claimed

HELD_FOR: Final = 0.1
"""Seconds without a free slot after which the runs are released."""
ENOUGH_FOR: Final = 0.05
"""Seconds for which the runs claimed ahead keep the slots of a group busy."""
SHORT: Final = 0.02
"""Seconds that the runs of a group may take on average for others to be claimed ahead."""
MOST: Final = 128
"""How many runs of a group are claimed ahead at most. More are claimed once half are gone, so that many share a transaction."""
LONG_PAYLOAD: Final = 4096
"""Characters of payload on average above which none are claimed ahead, because they would take too much memory."""
WEIGHT: Final = 0.125
"""The weight of the newest value in the averages."""


class Ahead:
    """The runs of one group that are claimed ahead, in the order in which they start."""

    __slots__ = ("_payload", "_usual", "moved_at", "releases", "runs", "settles")

    def __init__(self) -> None:
        self.runs: deque[Claimed] = deque()
        self.moved_at = 0.0
        """When a run was last added or taken, by the clock of the loop."""
        self.releases = 0
        """How often the runs were released. What an earlier claim brings comes later in the order, so it is released too."""
        self.settles = False
        """Whether claims from before the last release are in flight; the next one waits for them."""
        self._usual = 1.0
        self._payload = 0.0

    def wanted(self, slots: int) -> int:
        """How many runs to have claimed ahead for a group with so many slots: what it executes in `ENOUGH_FOR` seconds."""
        if self._usual > SHORT or self._payload > LONG_PAYLOAD:
            return 0
        return min(int(slots * ENOUGH_FOR / max(self._usual, 1e-6)), MOST)

    def add(self, claimed: Sequence[Claimed], now: float) -> None:
        """Add runs that were just claimed."""
        self._payload += (sum([len(run.payload) for run in claimed]) / len(claimed) - self._payload) * WEIGHT
        self.runs.extend(claimed)
        self.moved_at = now

    def take(self, count: int, now: float) -> list[Claimed]:
        """Remove the first runs, up to `count`."""
        taken = [self.runs.popleft() for _ in range(min(count, len(self.runs)))]
        if taken:
            self.moved_at = now
        return taken

    def release(self) -> list[Claimed]:
        """Remove all runs."""
        taken = list(self.runs)
        self.runs.clear()
        self.releases += 1
        return taken

    def starts_after(self, due_order: int) -> bool:
        """Whether one of the runs is to start after a run with this place in the order."""
        return bool(self.runs) and due_order < self.runs[-1].due_order

    def took(self, times: Iterable[float]) -> None:
        """Note how many seconds runs took that ended together."""
        values = list(times)
        self._usual += (math.fsum(values) / len(values) - self._usual) * WEIGHT

    def has_stalled(self) -> None:
        """Claim nothing ahead until the runs that end are short again."""
        self._usual = 1.0


class ClaimsAhead:
    """The runs of all groups that are claimed ahead.

    `requeue` re-queues runs; `is_claiming` says whether a claim for a group is in flight.
    """

    def __init__(self, requeue: Callable[[list[Claimed]], None], is_claiming: Callable[[str], bool]) -> None:
        self._requeue = requeue
        self._is_claiming = is_claiming
        self._groups: dict[str, Ahead] = {}
        self._check_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def of(self, group: str) -> Ahead:
        """The runs of a group."""
        ahead = self._groups.get(group)
        if ahead is None:
            ahead = self._groups[group] = Ahead()
        return ahead

    def has(self, group: str) -> bool:
        """Whether runs of a group are claimed ahead."""
        return group in self._groups and bool(self._groups[group].runs)

    def groups(self) -> list[str]:
        """The groups of which runs are claimed ahead."""
        return [name for name, ahead in self._groups.items() if ahead.runs]

    def group_of(self, run_id: str) -> str | None:
        """The group of a run that is claimed ahead; None for any other run."""
        return next((name for name in self.groups() if any(run.id == run_id for run in self._groups[name].runs)), None)

    def keep(self, group: str, runs: list[Claimed], free: int) -> list[Claimed]:
        """Keep runs that were just claimed; returns the first ones, for which slots are free."""
        ahead, now = self.of(group), self._loop.time()
        ahead.add(runs, now)
        taken = ahead.take(free, now)
        if ahead.runs and self._check_timer is None:
            self._check_timer = self._loop.call_later(HELD_FOR, self._check)
        return taken

    def take(self, group: str, free: int) -> list[Claimed]:
        """The first runs of a group, for slots that are free."""
        return self.of(group).take(free, self._loop.time())

    def release(self, group: str) -> None:
        """Re-queue the runs of a group. Call it before the store gets the change that is the reason."""
        if self.has(group):
            ahead = self._groups[group]
            self._requeue(ahead.release())
            ahead.settles = self._is_claiming(group)

    def release_all(self) -> None:
        """Re-queue the runs of all groups."""
        for group in self.groups():
            self.release(group)

    def _check(self) -> None:
        """Release the runs for which no slot has become free."""
        self._check_timer = None
        late = self._loop.time() - HELD_FOR
        for group in self.groups():
            if self._groups[group].moved_at <= late:
                self._groups[group].has_stalled()
                self.release(group)
        if self.groups():
            self._check_timer = self._loop.call_later(HELD_FOR, self._check)
