"""The lease of a server, as its holder and as the others see it: arithmetic without a clock or a database.

A server proves that it lives by a *beat* in its row, a number that grows with each renewal. The others never compare clocks
with it: they end a server once they have seen the same beat for a whole lease, each by its own clock. The holder kills its
workers before anyone can have seen that:

    the renewal was sent at s    nobody saw the beat before s, so nobody ends the server before s + lease
    its workers are dead at      s + lease - margin

Only the rates of the clocks must agree, which the margin allows for; so neither a clock that is set nor a standby with another
time ends a server. Leases of this kind are those of leaders in Raft.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

LEAST_MARGIN: Final = 5.0
"""Seconds."""


class Beat(NamedTuple):
    """The row of a server: its beat, and its own lease in seconds."""

    number: int
    lease: float


class _Seen(NamedTuple):
    beat: int
    since: float


def margin(lease: float) -> float:
    """Seconds before the end of a lease at which the holder's workers are killed."""
    return max(LEAST_MARGIN, lease / 6)


def deadline(sent_at: float, lease: float) -> float:
    """Until when the workers of a server may live that sent its last successful renewal at this moment."""
    return sent_at + lease - margin(lease)


def doubt(sent_at: float, lease: float) -> float:
    """From when on a server claims nothing more unless another renewal succeeds."""
    return sent_at + lease / 2


class Observer:
    """Watches the beats of other servers."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._looked_at: float | None = None

    def look(self, now: float, beats: Mapping[str, Beat]) -> list[str]:
        """The servers whose beat has stood still for a whole lease.

        `now` is in seconds by a clock that also runs while the machine is suspended. After a gap of more than a third of a
        lease between two looks, that server is watched anew: nobody knows what it did meanwhile.
        """
        gap = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        dead: list[str] = []
        seen: dict[str, _Seen] = {}
        for server, beat in beats.items():
            before = self._seen.get(server)
            if before is None or before.beat != beat.number or gap > beat.lease / 3:
                before = _Seen(beat.number, now)
            elif now - before.since >= beat.lease:
                dead.append(server)
            seen[server] = before
        self._seen = seen
        return dead
