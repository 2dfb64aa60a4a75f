"""`python -m bench.plot`: draws the growth curves of a result as SVG for `docs/performance.md`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.figures import amount
from bench.report import RESULTS
from bench.scenarios.growth import CURVES

FOLDER: Final = Path(__file__).parents[1] / "docs" / "performance"
WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
INK, LINE, GRID = "#8a8f98", "#2f81f7", "#8a8f9840"
"""Legible on white and on black."""

Points = list[tuple[float, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one file for each curve that the result holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("result", nargs="?", type=Path, default=RESULTS / "latest.json", help="a file of bench/results")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default docs/performance")
    asked = parser.parse_args(arguments)
    figures = json.loads(asked.result.read_text())["figures"].get("growth", {})
    asked.folder.mkdir(parents=True, exist_ok=True)
    for curve, (axis, _) in CURVES.items():
        points = _points(figures, curve)
        if len(points) > 1:
            path = asked.folder / f"growth-{curve}.svg"
            path.write_text(draw(f"Cost of a run by {axis}", axis, "µs a run", points))
            sys.stdout.write(f"{path}\n")
    return 0


def _points(figures: Mapping[str, Mapping[str, Any]], curve: str) -> Points:
    keys = [(point, f"{curve}_{point}") for point in CURVES[curve][1]]
    return [(point, figures[key]["value"]) for point, key in keys if key in figures]


def draw(title: str, across: str, up: str, points: Points) -> str:
    """A line through points, both axes logarithmic."""
    body = "\n".join(_shapes(title, across, up, points))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">\n'
        f"{body}\n</svg>\n"
    )


def _shapes(title: str, across: str, up: str, points: Points) -> Iterator[str]:
    low, high = _range([value for _, value in points])
    first, last = points[0][0], points[-1][0]

    def place(point: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * _share(point, first, last)
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, low, high), 1)

    yield _text(WIDTH / 2, 20, title, "middle", size=14)
    yield _text(WIDTH / 2, HEIGHT - 10, across, "middle")
    yield _text(10, TOP - 12, up, "start")
    for value in _ticks(low, high):
        _, y = place(first, value)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{GRID}"/>'
        yield _text(LEFT - 8, y + 4, amount(value), "end")
    places = [place(*point) for point in points]
    yield f'<polyline fill="none" stroke="{LINE}" stroke-width="2" points="{" ".join(f"{x},{y}" for x, y in places)}"/>'
    for (x, y), (point, value) in zip(places, points, strict=True):
        yield f'<circle cx="{x}" cy="{y}" r="3.5" fill="{LINE}"><title>{point:,.0f}: {amount(value)} {up}</title></circle>'
        yield _text(x, y - 8, amount(value), "middle")
        yield _text(x, HEIGHT - BOTTOM + 18, f"{point:,.0f}", "middle")


def _range(values: list[float]) -> tuple[float, float]:
    """Decades around the values, so that a flat line looks flat."""
    low = 10 ** math.floor(math.log10(min(values)))
    return low, max(10 ** math.ceil(math.log10(max(values))), low * 10)


def _ticks(low: float, high: float) -> Iterator[float]:
    value = low
    while value <= high * 1.001:
        yield value
        value *= 10


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{INK}" font-size="{size}">{text}</text>'


if __name__ == "__main__":
    sys.exit(main())
