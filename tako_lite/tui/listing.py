"""A table whose important columns keep their width. It lays out its own rows: rich needs half a millisecond for each.

On a screen too narrow for all columns, those marked `below` go below their row, then the least important of the others are
left out, and the names are folded. A pipe has no width: there every value is printed in full, one row a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import Final, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

GAP: Final = "  "
INDENT: Final = "  "
UNBOUNDED: Final = 1_000_000
"""The width of a console that is not a terminal: nothing is folded, cut or left out."""
LONGEST: Final = 1_000
"""Characters of a cell that are laid out on a terminal: no screen shows more in a line."""
SHORTEST: Final = 12
"""The width that a folded column keeps at least."""
MOST_BELOW: Final = 3
"""The most lines below a row."""

Cell = tuple[str, str]
"""The text of one line, and its style."""


class Column(NamedTuple):
    """A column, and what happens to it on a narrow screen.

    A `below` column goes below its row, with its title if it has a `label`. Of the others, those with the highest `rank` are
    left out first; those with rank 0 stay, and may be folded. A column with `from_width` needs a screen of that width and a row
    with something in it.
    """

    title: str
    rank: int = 0
    right: bool = False
    below: bool = False
    label: bool = False
    from_width: int = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns that fit into a row with their widths, and the columns that go below it."""

    shown: list[int]
    widths: list[int]
    below: list[int]


class Listing:
    """Rows of cells under titles, in columns as wide as their contents."""

    def __init__(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, most_below: int = MOST_BELOW) -> None:
        self._columns = columns
        self._most_below = most_below
        self._rows = [list(row) for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        width = options.max_width
        rows = self._rows
        if width < UNBOUNDED:
            rows = [[(text[:LONGEST], style) for text, style in row] for row in rows]
        layout = self._layout(rows, width)
        titles = [(column.title, "dim") for column in self._columns]
        for row in (titles, *rows):
            for line in self._lines(row, layout):
                yield from _segments(_cut(line, width), console)
            if row is not titles:
                for text, style in self._below(row, layout, width):
                    yield from _segments([(INDENT, ""), (text, style)], console)

    def _layout(self, rows: Sequence[Sequence[Cell]], available: int) -> _Layout:
        columns = self._columns
        natural = [max([cell_len(column.title), *(cell_len(row[at][0]) for row in rows)]) for at, column in enumerate(columns)]
        shown = [
            at
            for at, column in enumerate(columns)
            if column.from_width == 0 or (column.from_width <= available and any(row[at][0] for row in rows))
        ]
        below = [at for at, column in enumerate(columns) if column.below and column.from_width > available]
        if _total(natural, shown) > available:
            below = [at for at, column in enumerate(columns) if column.below]
            shown = [at for at in shown if not columns[at].below]
        for least in sorted((at for at in shown if columns[at].rank), key=lambda at: -columns[at].rank):
            if _total(natural, shown) > available:
                shown.remove(least)
        widths = [natural[at] for at in shown]
        while widths and sum(widths) + len(GAP) * (len(widths) - 1) > available and max(widths) > SHORTEST:
            widths[widths.index(max(widths))] -= 1
        return _Layout(shown, widths, below)

    def _lines(self, row: Sequence[Cell], layout: _Layout) -> Iterator[list[Cell]]:
        """The lines of a row: as many as its most folded cell needs."""
        cells = [row[at] for at in layout.shown]
        if all(cell_len(text) <= width for (text, _), width in zip(cells, layout.widths, strict=True)):
            yield self._spaced(cells, layout)
            return
        folded = [chop_cells(text, width) or [""] for (text, _), width in zip(cells, layout.widths, strict=True)]
        for texts in zip_longest(*folded, fillvalue=""):
            yield self._spaced([(text, style) for text, (_, style) in zip(texts, cells, strict=True)], layout)

    def _spaced(self, cells: Sequence[Cell], layout: _Layout) -> list[Cell]:
        """The cells of a line, separated by blanks, without blanks at the end."""
        line: list[Cell] = []
        blanks = ""
        for (text, style), width, at in zip(cells, layout.widths, layout.shown, strict=True):
            missing = " " * (width - cell_len(text))
            before, behind = (missing, "") if self._columns[at].right else ("", missing)
            if text:
                line += [(blanks + before, ""), (text, style)]
                blanks = behind + GAP
            else:
                blanks += missing + GAP
        return line

    def _below(self, row: Sequence[Cell], layout: _Layout, width: int) -> Iterator[Cell]:
        """The lines below a row: the cells that did not fit into it."""
        parts = [
            (f"{self._columns[at].title} {row[at][0]}" if self._columns[at].label else row[at][0], row[at][1])
            for at in layout.below
            if row[at][0]
        ]
        if not parts:
            return
        text, style = GAP.join(text for text, _ in parts), parts[0][1] or "dim"
        width = max(1, width - len(INDENT))
        lines = folded(text, width)
        if len(lines) > self._most_below:
            kept = self._most_below - 1
            lines = [*lines[:kept], _shortened(" ".join(lines[kept:]), width)]
        yield from ((line, style) for line in lines)


def folded(text: str, width: int) -> list[str]:
    """Break the text into lines of a width, between words where possible."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
            continue
        parts = chop_cells(word, width) or [""]
        lines = [*lines, *parts] if lines[-1] else [*lines[:-1], *parts]
    return [line.rstrip(" ") for line in lines]


def _total(natural: Sequence[int], shown: Sequence[int]) -> int:
    return sum(natural[at] for at in shown) + len(GAP) * (len(shown) - 1)


def _cut(line: Sequence[Cell], width: int) -> list[Cell]:
    """The line, cut if the screen is too narrow even for the columns that stay."""
    kept: list[Cell] = []
    for text, style in line:
        length = cell_len(text)
        if length > width:
            return [*kept, (_shortened(text, width), style)] if width > 0 else kept
        kept.append((text, style))
        width -= length
    return kept


def _shortened(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _segments(line: Iterable[Cell], console: Console) -> Iterator[Segment]:
    for style, parts in groupby(line, key=itemgetter(1)):
        yield Segment("".join(text for text, _ in parts), console.get_style(style) if style else None)
    yield Segment.line()
