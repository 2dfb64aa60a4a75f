"""`backup` and `prune`: looking after the queue file."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import click

from tako_lite.cli.options import chosen_config, command, json_option
from tako_lite.cli.output import write, write_json
from tako_lite.cli.queue import Queue
from tako_lite.client import Client
from tako_lite.errors import BadInput, DaemonUnreachable, NotFound
from tako_lite.units import size_text


@command
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy the queue file while it is in use, to FILE.

    The copy is one moment of the queue and a queue file itself. FILE must not exist. Never copy the queue file with
    other tools while a daemon runs: half of it is in the file beside it.
    """
    target = Path(os.path.abspath(file))  # noqa: PTH100 - links stay as they are
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} exists already", hint="name a file that is not there yet")
    queue = Queue()
    try:
        answer = queue.client.call("backup", file=str(target))
    except DaemonUnreachable:
        answer = _copy(queue.config.queue.path, target)
    if as_json:
        write_json(answer)
    else:
        write(f"{answer['file']} ({size_text(answer['bytes'])})")


@command
@json_option
def prune(as_json: bool) -> None:
    """Delete runs that ended longer ago than they are kept (`keep` in [queue]), now and not in the daemon's own time."""
    with Client(chosen_config()) as client:
        answer = client.call("prune")
    if as_json:
        write_json(answer)
        return
    pruned = {state: count for state, count in answer["pruned"].items() if count}
    write(", ".join(f"{count:,} {state}" for state, count in sorted(pruned.items())) or "nothing to delete")


def _copy(source: Path, target: Path) -> dict[str, str | int]:
    """Copy the file that no daemon uses; a copy that fails is taken away again."""
    import sqlite3

    from tako_lite.store.sqlite.file import connect_reading, create, translate

    if not source.exists():
        raise NotFound(f"there is nothing to copy: {source} does not exist yet")
    try:
        create(target)
        with closing(connect_reading(source)) as connection, closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise translate(error, target) from error
    return {"file": str(target), "bytes": target.stat().st_size}
