"""Reads the rows of a damaged file with SQL, range by range, so that unreadable rows do not hide the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from tako_lite.store.sqlite.queries import rescue as sql
from tako_lite.store.sqlite.rescue.btree import Key, Pages

Row = tuple[Any, ...]
_UNREADABLE = (sqlite3.Error, TypeError, ValueError, OverflowError)
"""The errors that damage causes; the last three if a key has an unexpected form."""


class Tree(NamedTuple):
    """Rows in the order of a key: a table, or an index that has the wanted columns."""

    table: str
    way: str
    """Makes SQLite use only this tree: `NOT INDEXED` or `INDEXED BY …`."""
    root: int
    key: tuple[str, ...]
    kinds: tuple[type, ...]
    columns: tuple[str, ...]
    where: str = "true"
    """The condition of a partial index."""


@dataclass
class Found:
    """What a walk through a tree found besides its rows."""

    lost: set[Key] = field(default_factory=set)
    """Keys whose rows cannot be read."""
    is_whole: bool = True
    """Whether no page of the tree was damaged."""


class Salvage:
    """The rows of a private copy of a damaged file."""

    def __init__(self, connection: sqlite3.Connection, pages: Pages) -> None:
        self._connection = connection
        self._pages = pages

    def rows(self, tree: Tree, found: Found) -> Iterator[Row]:
        """Every readable row, its key in front; no readable page below a readable one is skipped."""
        edges = [None, *self._pages.partings(tree.root, tree.kinds), None]
        for low, high in pairwise(edges):
            yield from self._stretch(tree, low, high, found)

    def _stretch(self, tree: Tree, low: Key | None, high: Key | None, found: Found) -> Iterator[Row]:
        """The rows after a key, up to another; None is the beginning or the end."""
        width = len(tree.key)
        try:
            for row in self._walk(tree, (*tree.key, *tree.columns), low and _behind(low), high):
                key = row[:width]
                if tuple(map(type, key)) != tree.kinds or (low is not None and not key > low):
                    raise sqlite3.DatabaseError("keys that are none, or out of order: a page is its own descendant")
                low = key
                yield row
        except _UNREADABLE:
            found.is_whole = False
        else:
            return
        for key in sorted(self._keys(tree, low, high)):
            row = self._one(tree, key)
            if row is None:
                found.lost.add(key)
            else:
                yield row

    def _keys(self, tree: Tree, low: Key | None, high: Key | None) -> set[Key]:
        """The keys of a damaged range, read forwards from its beginning, then backwards from its end, as far as possible.

        The last row before damage takes a query of its own: Python reads the next one before it
        gives one.
        """
        keys: set[Key] = set()
        for backwards in (False, True):
            first, last = low and _behind(low), high
            for limit in (-1, 1):
                with suppress(*_UNREADABLE):
                    for key in self._walk(tree, tree.key, first, last, backwards=backwards, limit=limit):
                        if tuple(map(type, key)) != tree.kinds or (first and key < first) or (last and key > last):
                            break  # out of order: a page is its own descendant
                        keys.add(key)
                        first, last = (first, _before(key)) if backwards else (_behind(key), last)
        return keys

    def _one(self, tree: Tree, key: Key) -> Row | None:
        """The row of a key, read from either side."""
        for backwards in (False, True):
            with suppress(*_UNREADABLE):
                rows = self._walk(tree, (*tree.key, *tree.columns), key, key, backwards=backwards, limit=1).fetchall()
                if rows:
                    return tuple(rows[0])
        return None

    def _walk(
        self,
        tree: Tree,
        wanted: Sequence[str],
        first: Key | None,
        last: Key | None,
        *,
        backwards: bool = False,
        limit: int = -1,
    ) -> sqlite3.Cursor:
        name, bounds, values = f"({', '.join(tree.key)})", [tree.where], list[int | str]()
        for bound, relation in ((first, ">="), (last, "<=")):
            if bound is not None:
                bounds.append(f"{name} {relation} ({', '.join('?' * len(bound))})")
                values += bound
        order = ", ".join(f"{part} DESC" if backwards else part for part in tree.key)
        text = sql.walk.format(
            wanted=", ".join(wanted), table=tree.table, way=tree.way, bounds=" AND ".join(bounds), order=order, limit=limit
        )
        return self._connection.execute(text, values)


def _behind(key: Key) -> Key:
    """The next possible key: with `>` SQLite first reads the key itself, in the leaf before."""
    *above, own = key
    return (*above, own + 1 if isinstance(own, int) else own + "\0")


def _before(key: Key) -> Key:
    """A key directly before another; hardly any key lies between them."""
    *above, own = key
    if isinstance(own, int):
        return (*above, own - 1)
    return (*above, own[:-1] + chr(max(ord(own[-1]) - 1, 0)) + "\U0010ffff" if own else own)
