"""`python -m bench`: measure the scenarios, several times each, and print what came out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Final

from bench.figures import Figure, Plan
from bench.machine import describe
from bench.processes import Others, wait_for_quiet
from bench.report import as_json, save, table
from bench.scenarios import BY_NAME, SCENARIOS, raw_ceiling

RUNS: Final = 5
QUICK_RUNS: Final = 1
_ALL: Final = f"one or more of: {', '.join(SCENARIOS)}; by default all but {', '.join(sorted(BY_NAME))}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; exit code 1 if a goal is missed that the least program of its shape would reach."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled once, not at every start
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {min(unknown)}; there are {', '.join(SCENARIOS)}")
    chosen = with_floors(asked.scenarios or [name for name in SCENARIOS if name not in BY_NAME])
    runs = asked.runs or (QUICK_RUNS if asked.quick else RUNS)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="tako-bench-") as folder:
        plan = Plan(Path(folder), asked.quick, "uvloop" if asked.uvloop else "asyncio", asked.patience)
        machine = describe(plan.folder, plan.loop)
        figures = _measure(plan, chosen, runs, machine)
    everything = [figure for of_scenario in figures.values() for figure in of_scenario.values() if figure.values]
    sys.stdout.write(f"{table(machine, everything)}\n")
    path = save(as_json(machine, figures, quick=asked.quick), asked.json)
    sys.stderr.write(f"written to {path}\n")
    return 1 if any(figure.is_met is False and not figure.is_excused for figure in everything) else 0


def with_floors(chosen: Sequence[str]) -> list[str]:
    """Scenarios with those that measure the least programs beside them, in the order of the table."""
    floors = {goal.floor.partition(".")[0] for name in chosen for goal in SCENARIOS[name].GOALS.values()}
    return [name for name in SCENARIOS if name in chosen or name in floors]


def _measure(plan: Plan, chosen: Sequence[str], runs: int, machine: dict[str, str | int]) -> dict[str, dict[str, Figure]]:
    """Measure all scenarios in turn, and that over again, so that a noisy minute spoils no figure alone.

    How much of the machine other programs used meanwhile is added to the facts about it.
    """
    figures = {name: {key: Figure(goal) for key, goal in SCENARIOS[name].GOALS.items()} for name in chosen}
    for figure in [figure for of_scenario in figures.values() for figure in of_scenario.values()]:
        scenario_name, _, key = figure.goal.floor.partition(".")
        figure.floor = figures.get(scenario_name, {}).get(key)
    noise: list[float] = []
    for run in range(runs):
        for name in chosen:
            scenario = SCENARIOS[name]
            if run >= scenario.MOST_RUNS:
                continue
            sys.stderr.write(f"{run + 1}/{min(runs, scenario.MOST_RUNS)} {name}\n")
            wait_for_quiet(plan.patience)
            others = Others()
            before = raw_ceiling.measure(plan)
            values = before if name == "raw_ceiling" else scenario.measure(plan)
            after = before if name == "raw_ceiling" else raw_ceiling.measure(plan)
            noise.append(others.share())
            for key, value in values.items():
                figure = figures[name][key]
                figure.values.append(value)
                figure.ceilings.append(mean(ceiling[figure.goal.of] for ceiling in (before, after)))
    machine["used_by_others"] = f"{median(noise):.0%}"
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=_ALL)
    parser.add_argument(
        "--runs", type=int, metavar="N", help=f"how often each is measured (default {RUNS}, quick {QUICK_RUNS})"
    )
    parser.add_argument("--quick", action="store_true", help="less work in each run, for a first look")
    parser.add_argument("--uvloop", action="store_true", help="run the daemons on uvloop; without it they run on asyncio")
    parser.add_argument(
        "--patience", type=float, default=10, metavar="SECONDS", help="how long to wait for a quiet machine before each run"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes (default bench/results/<date>.json)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="the disk that is measured (default: that of temporary files)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
