"""The table for people, and the JSON that it is drawn from; `python -m bench.report FILE` prints a result as Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure, amount

RESULTS: Final = Path(__file__).parent / "results"
_WORDS: Final = {True: "ok", False: "MISS", None: ""}
_HEAD: Final = ("what", "measured", "of raw", "at least", "least program", "")


def table(machine: Mapping[str, Any], figures: Iterable[Figure]) -> str:
    """The machine in a line, then a row for each figure."""
    rows = [_HEAD, *(_row(figure) for figure in figures if figure.values)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
    return "\n".join([facts, "", lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _row(figure: Figure) -> tuple[str, ...]:
    goal = figure.goal
    ratio = "" if figure.ratio is None else f"{figure.ratio:.1%}"
    floor = "" if figure.floor is None or not figure.floor.values else _with_unit(figure.floor)
    verdict = "at the limit of the machine" if figure.is_excused else _WORDS[figure.is_met]
    return goal.what, _with_unit(figure), ratio, str(goal), floor, verdict


def _with_unit(figure: Figure) -> str:
    return f"{amount(figure.value)} {figure.goal.unit}".rstrip()


def as_json(machine: Mapping[str, Any], figures: Mapping[str, Mapping[str, Figure]], *, quick: bool) -> dict[str, Any]:
    """Everything that was measured, run by run."""
    return {
        "schema": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": dict(machine),
        "figures": {
            scenario: {key: figure.as_json() for key, figure in of_scenario.items() if figure.values}
            for scenario, of_scenario in figures.items()
        },
    }


def markdown(result: Mapping[str, Any]) -> str:
    """A saved result as the table of `docs/performance.md`: a row for each figure that has a goal."""
    lines = ["| what | measured | at least | least program | |", "|---|---:|---:|---:|---|"]
    figures = chain.from_iterable(of_scenario.values() for of_scenario in result["figures"].values())
    lines.extend(_markdown_row(figure) for figure in figures if figure["ok"] is not None)
    return "\n".join(lines)


def _markdown_row(figure: Mapping[str, Any]) -> str:
    share = "" if figure["ratio"] is None else f" ({figure['ratio']:.1%})"
    floor = "" if figure["floor"] is None else f"{amount(figure['floor'])} {figure['unit']}"
    verdict = "reached" if figure["ok"] else "limit of the machine" if figure["excused"] else "missed"
    cells = (figure["what"], f"{amount(figure['value'])} {figure['unit']}{share}", figure["goal"], floor, verdict)
    return f"| {' | '.join(cells)} |"


def save(result: Mapping[str, Any], file: Path | None) -> Path:
    """Write a result as JSON, to a file that is named after its date unless another one is given."""
    path = file or RESULTS / f"{result['date'].replace(':', '').replace('+0000', 'Z')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{markdown(json.loads(Path(sys.argv[1]).read_text()))}\n")
