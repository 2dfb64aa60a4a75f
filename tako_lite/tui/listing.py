"""A table that may be as long as the queue. Its rows are cut and coloured here: rich needs half a millisecond for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

GAP: Final = "  "
LONGEST: Final = 1_000
"""Characters of a cell that are looked at: no screen shows more in a line."""
SHORTEST: Final = 6
"""What a column keeps of its width on a narrow screen; what then runs over the edge is not seen."""

Cell = tuple[str, str]
"""Text of one line, and its style."""


class Listing:
    """Rows of cells under titles, in columns as wide as their contents.

    Where the screen is narrower the widest columns give way, but for the first, which says what a row is about.
    """

    def __init__(self, titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        self._titles = [(title, "dim") for title in titles]
        self._rows = [[(text[:LONGEST], style) for text, style in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        widths = self._widths(options.max_width)
        for row in (self._titles, *self._rows):
            for style, parts in groupby(_fitted(row, widths), key=itemgetter(1)):
                yield Segment("".join(text for text, _ in parts), console.get_style(style) if style else None)
            yield Segment.line()

    def _widths(self, available: int) -> list[int]:
        widths = [max(cell_len(text) for text, _ in column) for column in zip(self._titles, *self._rows, strict=True)]
        first, *rest = widths
        while rest and first + len(GAP) * len(rest) + sum(rest) > available and max(rest) > SHORTEST:
            rest[rest.index(max(rest))] -= 1
        return [first, *rest]


def _fitted(row: Sequence[Cell], widths: Sequence[int]) -> Iterator[Cell]:
    """The cells of a row, each filled or cut to its column, with the gaps between them."""
    last = len(row) - 1
    for index, ((text, style), width) in enumerate(zip(row, widths, strict=True)):
        missing = width - cell_len(text)
        yield (text if missing >= 0 else set_cell_size(text, width - 1) + "…"), style
        if index < last:
            yield " " * max(0, missing) + GAP, ""
