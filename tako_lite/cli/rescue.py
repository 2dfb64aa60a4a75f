"""`doctor --rescue`: copies what is readable of a damaged queue, and prints how to replace the queue with the copy."""

from __future__ import annotations

import os
import shlex
from itertools import chain, count
from pathlib import Path
from typing import Final

from tako_lite.cli.exclusive import exclusive
from tako_lite.cli.options import chosen_config
from tako_lite.cli.output import write, write_json
from tako_lite.client.project import Project
from tako_lite.clock import SystemClock
from tako_lite.config import load
from tako_lite.errors import TakoError
from tako_lite.finding import quoted
from tako_lite.store.opening import Queue
from tako_lite.store.rescued import Rescued, Tally
from tako_lite.units import counted, size_text

SHOWN: Final = 20


def rescue(server: str | None, file: Path, *, as_json: bool) -> int:
    """Rescue the queue of the chosen project into a new file and print the outcome; return the exit code."""
    queue = load(chosen_config(), server=server).queue.location
    target = Path(os.path.abspath(file))  # noqa: PTH100 - links stay as they are
    project = Project(chosen_config())
    with exclusive(project, queue, "the rescue"):
        done = queue.rescue(target, SystemClock().now())
    commands = _commands(project, queue, target)
    if as_json:
        write_json(_as_json(done, queue, commands))
    else:
        _print(done, queue, commands)
    return 0 if done.is_all else TakoError.exit_code


def _as_json(done: Rescued, queue: Queue, commands: list[str]) -> dict[str, object]:
    return {
        "queue": queue.address,
        "file": str(done.file),
        "bytes": done.size,
        "tables": {
            name: {"rescued": tally.rescued, "lost": tally.lost, "complete": tally.is_complete, "unlisted": tally.unlisted}
            for name, tally in done.tables.items()
        },
        "lost_runs": sorted(done.runs),
        "unlisted_runs": sorted(done.unlisted),
        "repeated_runs": sorted(done.repeated),
        "log_is_whole": done.log_is_whole,
        "commands": commands,
    }


def _commands(project: Project, queue: Queue, file: Path) -> list[str]:
    """Shell commands that keep the damaged file, replace it with the new one, and start the daemon."""
    root = project.root
    names = chain(["aside"], (f"aside-{number}" for number in count(2)))
    aside = next(name for name in names if not (root / name).exists())
    there = (path for path in queue.files() if path.exists())
    new, old, *beside = (path.relative_to(root) if path.is_relative_to(root) else path for path in (file, *there))
    config = f" -c {shlex.quote(os.path.abspath(chosen))}" if (chosen := chosen_config()) else ""  # noqa: PTH100
    return [
        f"cd {quoted(root)}",
        f"mkdir {aside}",
        f"mv {quoted(old, *beside)} {aside}/",
        f"install -m 600 {quoted(new, old)}",
        *(f"tako-lite{config} {words}" for words in ("doctor --deep", "status", "serve")),
    ]


def _print(done: Rescued, queue: Queue, commands: list[str]) -> None:
    for name, tally in done.tables.items():
        write(f"{name:<14} {_outcome(tally)}")
    _print_runs(done.runs, "known to be lost")
    _print_runs(done.unlisted, "missing from the index, so perhaps deleted before: check them before `serve`")
    _print_runs(done.repeated, "that may be executed twice: their parents lost the record of waiting for them")
    if not done.log_is_whole:
        write(f"{queue.address}-wal is damaged, so the newest changes may be lost")
    if done.is_all:
        write(f"read every row of {queue.address}: nothing is lost")
    write(f"the new queue is {done.file} ({size_text(done.size)}); these commands put it in the place of the old one:")
    write("  " + " &&\n  ".join(commands))


def _print_runs(ids: set[str], what: str) -> None:
    if ids:
        write(f"{counted(len(ids), 'run')} {what}:")
        for id in sorted(ids)[:SHOWN]:
            write(f"  {id}")
        if len(ids) > SHOWN:
            write(f"  and {len(ids) - SHOWN:,} more; --json lists all")


def _outcome(tally: Tally) -> str:
    words = f"{tally.rescued:>10,} rescued"
    if tally.lost:
        words += f", {tally.lost:,} lost"
    if tally.unlisted:
        words += f", {tally.unlisted:,} of them missing from the index: perhaps deleted"
    return words if tally.is_complete else f"{words}; more rows may be lost"
