"""Parses pages of a queue file that SQL does not show: the keys that separate leaves, and trees that are cut off.

The format is that of https://www.sqlite.org/fileformat2.html. Only SQL reads rows, so a wrong key here does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

Key = tuple[int | str, ...]
"""The rowid of a row, or its key in an index or in a table without rowids."""

HEADER: Final = 100
"""Bytes before the content of the first page."""
TABLE: Final = b"\x05\x0d"
INDEX: Final = b"\x02\x0a"
"""The type bytes of the pages of a tree: inner pages and leaves. A table without rowids is stored as an index."""
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
"""The length of an integer by its serial type; types 8 and 9 are the numbers 0 and 1 themselves."""


class Pages:
    """The pages of a file that does not change, counted from 1. `knows_free`: the first page is the file's own."""

    def __init__(self, path: Path, size: int, *, knows_free: bool) -> None:
        self.size = size
        self.count = path.stat().st_size // size
        self._knows_free = knows_free
        self._file = path.open("rb")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def read(self, number: int) -> bytes:
        """A page, or empty bytes if there is none."""
        if not 0 < number <= self.count:
            return b""
        self._file.seek((number - 1) * self.size)
        return self._file.read(self.size)

    def partings(self, root: int, kinds: tuple[type, ...]) -> list[Key]:
        """The keys that separate the leaves of a tree, sorted. `kinds` are the types of a key's parts; rowids are `(int,)`."""
        keys = {key for _, key in self._below({root}, len(kinds)) if key and tuple(map(type, key)) == kinds}
        return sorted(keys)

    def strays(self, roots: set[int]) -> list[int]:
        """The root pages of trees that are cut off: no page leads to them, and they are not free."""
        free = self._free()
        if free is None:
            return []
        reached = roots | free | {child for child, _ in self._below(roots)}
        lost = {
            number for number in range(2, self.count + 1) if number not in reached and self.read(number)[0] in TABLE + INDEX
        }
        return sorted(lost - {child for number in lost for child, _ in _cells(self.read(number))})

    def _below(self, roots: set[int], parts: int = 0) -> Iterator[tuple[int, Key | None]]:
        """The child pages of a page, each with the first parts of the key after it."""
        seen: set[int] = set()
        ahead = list(roots)
        while ahead:
            number = ahead.pop()
            if number not in seen:
                seen.add(number)
                for child, key in _cells(self.read(number), parts, HEADER if number == 1 else 0):
                    ahead.append(child)
                    yield child, key

    def _free(self) -> set[int] | None:
        """The free pages, which may still look like trees; None if they cannot all be determined."""
        header = self.read(1)
        trunk, count = int.from_bytes(header[32:36]), int.from_bytes(header[36:40])
        free: set[int] = set()
        while trunk:
            page = self.read(trunk)
            if trunk in free or not page:
                return None
            entries = int.from_bytes(page[4:8])
            free |= {trunk, *(int.from_bytes(page[8 + 4 * at : 12 + 4 * at]) for at in range(min(entries, self.size // 4)))}
            trunk = int.from_bytes(page[:4])
        return free if self._knows_free and len(free) == count else None


def _cells(page: bytes, parts: int = 0, start: int = 0) -> Iterator[tuple[int, Key | None]]:
    """The children of a page with the keys after them; none for a leaf, and only the plausible ones of a damaged page."""
    if page[start : start + 1] not in (TABLE[:1], INDEX[:1]):
        return
    for number in range(int.from_bytes(page[start + 3 : start + 5])):
        at = start + 12 + 2 * number
        cell = page[int.from_bytes(page[at : at + 2]) :]
        try:
            key = (_varint(cell, 4)[0],) if page[start] == TABLE[0] else _record(cell, _varint(cell, 4)[1], parts)
        except (IndexError, ValueError):
            key = None
        yield int.from_bytes(cell[:4]), key
    yield int.from_bytes(page[start + 8 : start + 12]), None


def _record(cell: bytes, start: int, parts: int) -> Key:
    """The first values of a record. Raises IndexError and ValueError unless they are texts and integers."""
    length, at = _varint(cell, start)
    body, key = start + length, list[int | str]()
    for _ in range(parts):
        serial, at = _varint(cell, at)
        size = (serial - 13) // 2 if serial >= 13 and serial % 2 else _INTEGERS.get(serial, -1)
        if size < 0 or body + size > len(cell):
            raise ValueError("neither a text nor an integer, or not all of it is here")
        value = cell[body : body + size]
        key.append(value.decode() if serial >= 13 else serial - 8 if not size else int.from_bytes(value, signed=True))
        body += size
    return tuple(key)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer of one to nine bytes, and the offset after it."""
    value = 0
    for taken in range(8):
        byte = data[at + taken]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + taken + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64 if value >= 1 << 63 else 0), at + 9
