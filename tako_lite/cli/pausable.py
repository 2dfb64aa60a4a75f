"""The command family that `schedules` and `triggers` share: a list, and `list`, `pause`, `resume` and `run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tako_lite.cli.options import HELP_NAMES, chosen_config, command, config_option, json_option, note_option, without_none
from tako_lite.cli.output import draw, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.client import Client
from tako_lite.clock import SystemClock

if TYPE_CHECKING:
    from rich.console import RenderableType

Answer = dict[str, Any]


class Family(NamedTuple):
    """What differs between the two families. The docstring of `run` is the help of that command."""

    noun: str
    """`schedule` or `trigger`; an `s` makes it the name of the family and of the daemon's command for the list."""
    key: str
    """The argument of the daemon's commands that holds the name."""
    summary: str
    pause: str
    resume: str
    run: Callable[[str, bool], None]
    """Runs one by its name, with JSON output or without."""
    table: Callable[[Answer, int], RenderableType]
    """Draws the answer of the list as of a time in milliseconds."""


def pausable_family(family: Family) -> click.Group:
    """The click group of a family; without a subcommand it prints the list."""
    noun = family.noun

    @click.group(
        name=f"{noun}s", help=family.summary, invoke_without_command=True, context_settings={"help_option_names": HELP_NAMES}
    )
    @config_option
    @json_option
    @click.pass_context
    def group(context: click.Context, as_json: bool) -> None:
        if context.invoked_subcommand is None:
            print_list(as_json)

    def print_list(as_json: bool) -> None:
        answer = QueueReader().ask(f"{noun}s")
        if as_json:
            write_json(answer)
        else:
            draw(family.table(answer, SystemClock().now()))

    def set_paused(name: str, paused: bool, as_json: bool, note: str | None = None) -> None:
        with Client(chosen_config(), source="cli") as client:
            client.call(f"pause_{noun}", **{family.key: name}, **without_none(paused=paused, note=note))
        if as_json:
            write_json({family.key: name, "paused": paused})
        else:
            write(f"{noun} {name} {'paused' if paused else 'resumed'}")

    def list_(as_json: bool) -> None:
        print_list(as_json)

    @note_option
    def pause(name: str, note: str | None, as_json: bool) -> None:
        set_paused(name, True, as_json, note)

    def resume(name: str, as_json: bool) -> None:
        set_paused(name, False, as_json)

    def run(name: str, as_json: bool) -> None:
        family.run(name, as_json)

    list_.__doc__ = f"List the {noun}s, like `{noun}s` without a command."
    pause.__doc__, resume.__doc__, run.__doc__ = family.pause, family.resume, family.run.__doc__
    group.add_command(command(json_option(list_)), "list")
    for word, function in (("pause", pause), ("resume", resume), ("run", run)):
        group.add_command(command(click.argument("name")(json_option(function))), word)
    return group
