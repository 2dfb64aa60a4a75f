"""`pause`, `resume` and `scale`: what people ask of a group."""

from __future__ import annotations

import click

from tako_lite.cli.options import chosen_config, command
from tako_lite.cli.output import note, warn, write
from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable
from tako_lite.units import counted

AUTO = "auto"


def workers(text: str) -> int | None:
    """A number of workers, or `auto` (None) for what tako.toml says."""
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise click.BadParameter(f"{text!r} is neither a number of workers (0 to 1000) nor {AUTO}")
    return int(text)


@command
@click.argument("group")
def pause(group: str) -> None:
    """Start no more runs of a group; those under way go on. It stays so over restarts, until `resume`."""
    with Client(chosen_config()) as client:
        client.call("pause", group=group)
    write(f"{group} is paused")


@command
@click.argument("group")
def resume(group: str) -> None:
    """Let a paused or failing group go on; one that could not start tries again at once."""
    with Client(chosen_config()) as client:
        client.call("resume", group=group)
    write(f"{group} goes on")


@command
@click.argument("group")
@click.argument("number", type=workers)
@click.option("--save", is_flag=True, help="Write it to tako.toml instead, keeping comments, and reload.")
def scale(group: str, number: int | None, save: bool) -> None:
    """Change the number of workers of a group.

    NUMBER are kept running, or with `auto` again as many as tako.toml says. Without --save the number stands in the
    queue, over restarts, until `auto`.
    """
    if save:
        if number is None:
            raise click.UsageError(f"--save needs a number: `{AUTO}` is what the file says already")
        _save(group, number)
        return
    with Client(chosen_config()) as client:
        client.call("scale", group=group, workers=number)
    write(f"{group} is kept at {counted(number, 'worker')}" if number is not None else f"{group} is as tako.toml says")


def _save(group: str, number: int) -> None:
    from tako_lite.cli.saving import save_workers

    saved = save_workers(chosen_config(), group, number)
    write(f"{saved.file}: [workflows.{group}] workers = {number}")
    warn(saved.warning)
    try:
        with Client(chosen_config()) as client:
            client.call("scale", group=group, workers=None)
            for warning in client.call("reload")["warnings"]:
                warn(warning)
    except DaemonUnreachable:
        note("no daemon is running; it holds from its next start")
