"""Where claims begin to read, so that they do not walk over the index entries of runs that were claimed long ago.

As long as another session holds an old snapshot, PostgreSQL removes nothing that this still sees, and every claim from the
beginning passes each run that was claimed since. So with a backlog, a claim measures once in a while how much lies before the
first due run. If that is much, the claims of the next while begin at that run. Meanwhile, runs that become due before it wait
until a claim finds nothing behind it, or until that while is over: it is a few times as long as the measurement took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from tako_lite.store.base import Claims, Hold
from tako_lite.store.postgres import queries
from tako_lite.store.sql import Statement
from tako_lite.store.transitions.transaction import Transaction

BEGINNING: Final[dict[str, Any]] = {"lowest": -(2**63), "first": ""}
"""Parameters of a claim that reads from the beginning."""
MUCH: Final = 200
"""Blocks of 8 KiB that a look for one run may read."""
AT_LEAST: Final = 1.0
"""Seconds from one measurement to the next."""
TIMES: Final = 15
"""How much longer the claims begin at the same run than it took to measure."""
_MEASURE: Final = Statement(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {queries.servers.first_due}")


class Place(NamedTuple):
    """The place of a run in the order of claims."""

    lowest: int
    first: str


class _Known(NamedTuple):
    """Where claims begin, None for the beginning, and until when, by the monotonic clock."""

    place: Place | None
    until: float


class Watermarks:
    """The watermark of each group and hold. `constants` are those of the statements; all claims are on one thread."""

    def __init__(self, constants: dict[str, Any]) -> None:
        self._constants = constants
        self._constants |= BEGINNING
        self._known: dict[tuple[str, Hold | None], _Known] = {}

    def claim(self, transaction: Transaction, group: str, hold: Hold | None, claim: Callable[[], Claims]) -> Claims:
        """What `claim` finds from the watermark on, or else from the beginning."""
        known = self._known.get((group, hold))
        if known is None or time.monotonic() >= known.until:
            found = claim()
            if found.more:
                self._known[group, hold] = _measured(transaction, group, hold)
            return found
        if known.place is not None:
            with self._from(known.place):
                found = claim()
            if found.runs:
                return found._replace(more=True)  # there may be some before the watermark
        return claim()

    @contextmanager
    def _from(self, place: Place) -> Iterator[None]:
        self._constants |= place._asdict()
        try:
            yield
        finally:
            self._constants |= BEGINNING


def _measured(transaction: Transaction, group: str, hold: Hold | None) -> _Known:
    begun = time.monotonic()
    plan = transaction.value(_MEASURE, group=group, hold=hold)[0]["Plan"]
    is_much = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] > MUCH
    place = transaction.row(Place, queries.servers.first_due, group=group, hold=hold) if is_much else None
    now = time.monotonic()
    return _Known(place, now + max(AT_LEAST, TIMES * (now - begun)))
