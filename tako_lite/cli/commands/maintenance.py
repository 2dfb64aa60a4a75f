"""`backup`, `restore` and `prune`: maintenance of the queue."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tako_lite.cli.options import chosen_config, command, json_option, server_option
from tako_lite.cli.output import write, write_json
from tako_lite.client import Client
from tako_lite.finding import quoted
from tako_lite.units import size_text


@command
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy the queue into a file while it is in use.

    The copy is a consistent queue file, also of a queue in PostgreSQL. FILE must not exist. Never copy a queue file with other
    tools while a daemon runs: they miss the changes in its write-ahead log.
    """
    target = Path(os.path.abspath(file))  # noqa: PTH100 - links stay as they are
    with Client(chosen_config(), source="cli") as client:
        answer = client.call("backup", file=str(target))
    if as_json:
        write_json(answer)
    else:
        write(f"{answer['file']} ({size_text(answer['bytes'])})")


@command
@server_option
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def restore(server: str | None, file: Path, as_json: bool) -> None:
    """Replace the queue by a copy of FILE, which `backup` has written.

    The daemon must be stopped. FILE is read completely first; if it is damaged, nothing changes. An old queue file is kept
    beside the new one, and its name is printed; in PostgreSQL, the schema must be empty.
    """
    from tako_lite.cli.exclusive import exclusive
    from tako_lite.client.project import Project
    from tako_lite.clock import SystemClock
    from tako_lite.config import load
    from tako_lite.store.opening import QueueCheck

    queue = load(chosen_config(), server=server).queue.location
    with exclusive(Project(chosen_config()), queue, "the restore"):
        done = queue.restore(Path(os.path.abspath(file)), QueueCheck(False, True, SystemClock(), lambda _: ()))  # noqa: PTH100
    if as_json:
        replaced = None if done.replaced is None else str(done.replaced)
        write_json({"queue": done.queue, "bytes": done.size, "replaced": replaced})
        return
    write(f"restored {done.queue} from {file} ({size_text(done.size)})")
    if done.replaced is not None:
        write(f"the old queue is {done.replaced}; to get it back: tako-lite restore {quoted(done.replaced)}")


@command
@json_option
def prune(as_json: bool) -> None:
    """Delete ended runs that are past their retention (`keep` in [queue]).

    The daemon also does this regularly by itself."""
    with Client(chosen_config(), source="cli") as client:
        answer = client.call("prune")
    if as_json:
        write_json(answer)
        return
    pruned = {state: count for state, count in answer["pruned"].items() if count}
    write(", ".join(f"{count:,} {state}" for state, count in sorted(pruned.items())) or "nothing to delete")
