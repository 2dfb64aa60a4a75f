"""What a transition works with: statements by name, rows by name, the time, and the effects for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from tako_lite.store.base import Effects, Hooks, Limit
from tako_lite.store.sql import Statement

R = TypeVar("R", bound=NamedTuple)
"""A NamedTuple whose fields are the columns of a statement, in their order; a test compares the two."""


class Statements(Protocol):
    """The statements of a backend, by file: each attribute has one `Statement` for each block."""

    @property
    def activity(self) -> Any: ...
    @property
    def attempts(self) -> Any: ...
    @property
    def code(self) -> Any: ...
    @property
    def edits(self) -> Any: ...
    @property
    def failures(self) -> Any: ...
    @property
    def filters(self) -> Any: ...
    @property
    def groups(self) -> Any: ...
    @property
    def limits(self) -> Any: ...
    @property
    def minutes(self) -> Any: ...
    @property
    def runs(self) -> Any: ...
    @property
    def schedules(self) -> Any: ...
    @property
    def signals(self) -> Any: ...
    @property
    def steps(self) -> Any: ...
    @property
    def triggers(self) -> Any: ...


class Snapshot(Protocol):
    """A consistent view of the queue. Parameters are passed by name; every method reads all rows of its statement."""

    @property
    def sql(self) -> Statements: ...

    def row(self, kind: type[R], statement: Statement, /, **parameters: object) -> R | None:
        """The first row of a statement, or None."""

    def rows(self, kind: type[R], statement: Statement, /, **parameters: object) -> list[R]:
        """Every row of a statement."""

    def rows_of_each(self, kind: type[R], *statements: Statement) -> list[list[R]]:
        """The rows of several statements of one shape and without parameters, which are asked at once where that is faster."""

    def value(self, statement: Statement, /, **parameters: object) -> Any:
        """The only column of the first row; None where there is no row."""

    def values(self, statement: Statement, /, **parameters: object) -> list[Any]:
        """The only column of every row."""

    def exists(self, statement: Statement, /, **parameters: object) -> bool:
        """Whether a statement returns a row."""


class Transaction(Snapshot, Protocol):
    """One transaction of the writer. `now` is its time in milliseconds since 1970, by the clock of the backend.

    Values with more than `inline` characters are stored beside their row, which holds ''.
    `effects` are reported once the transaction is committed. `hooks` say what follows from deaths, and `died` collects the runs
    that have died. `limits` are those of the workflows, or None without a daemon:
    the next daemon applies them. `freed` collects each (workflow, key) with a run that stopped counting for the limit, `paced`
    each (workflow, rate key) whose next start may be possible at another time now.
    """

    inline: ClassVar[int]
    now: int
    effects: Effects
    hooks: Hooks | None
    died: list[str]
    limits: Mapping[str, Limit] | None
    freed: set[tuple[str, str]]
    paced: set[tuple[str, str]]

    def execute(self, statement: Statement, /, **parameters: object) -> int:
        """Run a statement that returns no rows; returns how many rows it changed."""

    def execute_many(self, statement: Statement, rows: Sequence[Any], /) -> int:
        """Run a statement once for each row; returns how many rows were changed in all.

        The rows are NamedTuples of one type, whose fields are the parameters of the statement.
        """
