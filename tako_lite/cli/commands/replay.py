"""`replay`: whether the code in this folder fits the runs that are stored."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from tako_lite.cli.commands.runs import all_runs
from tako_lite.cli.options import chosen_config, command, json_option, run_ending
from tako_lite.cli.output import write, write_json
from tako_lite.cli.payload import open_file, stdin
from tako_lite.cli.queue import QueueReader
from tako_lite.errors import BadInput
from tako_lite.units import counted


@command
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=run_ending)
@click.option("--all-waiting", is_flag=True, help="All runs that are parked.")
@click.option(
    "--file", "file", metavar="FILE", help="The output of `show --json`, or - for stdin, instead of runs of the queue."
)
@json_option
def replay(runs: tuple[str, ...], all_waiting: bool, file: str | None, as_json: bool) -> None:
    """Check that the code fits stored runs. Exits with 1 if it does not.

    The handler of each run is called with the stored steps of the run, and stops at the first step that the run has not
    stored. No step is executed and nothing is changed, but what a handler does outside of steps is done. Call it in the folder
    of a new release before you reload.
    """
    if sum((bool(runs), all_waiting, file is not None)) != 1:
        raise click.UsageError("name runs, or use --all-waiting or --file")
    shown = _read_file(file) if file is not None else _read_queue(runs)
    from tako_lite.testing.project import load_project  # the command line needs nothing else of the tests
    from tako_lite.testing.replay import replay as replay_run

    with redirect_stdout(sys.stderr):  # what handlers print
        project = load_project(chosen_config() or ".", None, None)
        found = [(run, replay_run(project, run)) for run in shown]
    wrong = [run for run, replayed in found if replayed.differences]
    if as_json:
        write_json({"runs": [_as_json(run, replayed.differences, replayed.frontier) for run, replayed in found]})
    else:
        for run, replayed in found:
            _print(run, replayed.differences, replayed.frontier)
        write(f"{len(found) - len(wrong):,} of {counted(len(found), 'run')} fit" if found else "no run is waiting")
    if wrong:
        raise click.exceptions.Exit(1)


def _read_queue(endings: tuple[str, ...]) -> list[dict[str, Any]]:
    """The runs with these endings, or all that wait, with their steps."""
    queue = QueueReader()
    if endings:
        ids = [queue.ask("find", ending=ending)["id"] for ending in endings]
    else:
        ids = [run["id"] for run in reversed(all_runs(queue, {"states": ["waiting"]}, None))]
    return [queue.ask("get", run_id=id)["run"] for id in ids]


def _read_file(name: str) -> list[dict[str, Any]]:
    with stdin() if name == "-" else open_file(name) as stream:
        text = stream.read()
    try:
        document = json.loads(text)
        found = [run for run in document.get("runs", [document]) if run["steps"] is not None and run["workflow"]]
    except (ValueError, KeyError, AttributeError, TypeError):
        hint = "it is the output of: tako-lite show RUN --json"
        raise BadInput(f"{Path(name).name} is not a run with its steps", hint=hint) from None
    return found


def _print(run: dict[str, Any], differences: list[str], frontier: list[str]) -> None:
    about = f"{run['id'][-8:]}  {run['workflow']}"
    if not differences:
        write(f"{about}  fits" + (f" up to {', '.join(frontier)}" if frontier else ""))
        return
    write(f"{about}  does not fit")
    for line in differences:
        write(f"    {line}")


def _as_json(run: dict[str, Any], differences: list[str], frontier: list[str]) -> dict[str, Any]:
    fits = not differences
    return {"id": run["id"], "workflow": run["workflow"], "fits": fits, "differences": differences, "frontier": frontier}
