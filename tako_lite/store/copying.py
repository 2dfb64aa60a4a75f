"""Copies a whole queue into an empty one, whatever their backends: every table, every column that both have.

What is about servers stays behind: it is made again by those that serve the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from tako_lite.errors import AlreadyServing, BadInput, StoreError
from tako_lite.units import counted

TABLES: Final = (
    "runs",
    "steps",
    "waits",
    "signals",
    "schedules",
    "triggers",
    "groups",
    "ledger",
    "starts",
    "paces",
    "attempts",
    "minutes",
    "activity",
    "code",
)
_PORTION: Final = 1000

Row = tuple[Any, ...]
Progress = Callable[[int], None]
"""Is called with the number of rows that were copied since its last call."""


class Side(Protocol):
    """A queue that takes part in a copy. Long values are in their rows."""

    def __str__(self) -> str:
        """The queue as people see it."""

    def columns(self, table: str) -> list[str]:
        """The columns of a table."""

    def count(self, table: str) -> int:
        """The number of rows of a table."""

    def count_states(self) -> dict[str, int]:
        """The number of runs in each state that any run is in."""

    def servers(self) -> list[str]:
        """The servers that live in it, with their machines, as far as the queue knows."""


class Source(Side, Protocol):
    """One moment of a queue."""

    def read_rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """The rows of a table, one after the other."""


class Target(Side, Protocol):
    """A queue in a transaction that is committed if nothing is wrong at its end."""

    replaced: int
    """How many texts had a character that the queue cannot hold, which U+FFFD then replaces."""

    def write(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Store rows in a table."""


class Copied(NamedTuple):
    """What a copy has: the rows of each table, the runs of each state, and `Target.replaced`."""

    rows: dict[str, int]
    runs: dict[str, int]
    replaced: int


def copy(source: Source, target: Target, progress: Progress = lambda rows: None) -> Copied:
    """Store everything of a source in an empty target, and compare what both have then.

    Raises BadInput if the target is not empty, and StoreError if the two differ; neither changes the target.
    """
    refuse_full(target)
    for table in TABLES:
        columns = [column for column in source.columns(table) if column in target.columns(table)]
        target.write(table, columns, _reported(source.read_rows(table, columns), progress))
    return _compare(source, target)


def refuse_served(*sides: Side) -> None:
    """Raise AlreadyServing if a server lives in a queue that is copied, or copied into."""
    for side in sides:
        if servers := side.servers():
            raise AlreadyServing(
                f"{side} is served: {', '.join(servers)}", hint="stop them first: tako-lite stop, on each machine"
            )


def refuse_full(target: Target, hint: str = "a copy needs an empty queue; choose another schema or file") -> None:
    """Raise BadInput, with what to do, unless every table of a target is empty."""
    found = {table: rows for table in TABLES if (rows := target.count(table))}
    if found:
        what = counted(found["runs"], "run") if "runs" in found else f"rows in {', '.join(found)}"
        raise BadInput(f"{target} is not empty: it has {what}", hint=hint)


def _reported(rows: Iterator[Row], progress: Progress) -> Iterator[Row]:
    number = 0
    for number, row in enumerate(rows, 1):
        yield row
        if number % _PORTION == 0:
            progress(_PORTION)
    progress(number % _PORTION)


def _compare(source: Source, target: Target) -> Copied:
    """Count the rows of both. Raises StoreError where they differ."""
    rows = {table: target.count(table) for table in TABLES}
    states = target.count_states()
    for table, number in rows.items():
        if number != (wanted := source.count(table)):
            raise _differs(f"the copy has {counted(number, 'row')} of {wanted:,} in {table}")
    if states != source.count_states():
        raise _differs(f"the copy has {states} of {source.count_states()} runs")
    return Copied(rows, states, target.replaced)


def _differs(what: str) -> StoreError:
    return StoreError(f"{what}, so nothing was stored", hint="report this; the queue that was copied is unchanged")
