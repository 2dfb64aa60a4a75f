"""`triggers`: what looks for work and makes runs of it."""

from __future__ import annotations

import click

from tako_lite.cli.options import HELP_NAMES, chosen_config, command, config_option, json_option
from tako_lite.cli.output import draw, warn, write, write_json
from tako_lite.cli.queue import Queue
from tako_lite.client import Client
from tako_lite.clock import SystemClock


@click.group(invoke_without_command=True, context_settings={"help_option_names": HELP_NAMES})
@config_option
@json_option
@click.pass_context
def triggers(context: click.Context, as_json: bool) -> None:
    """List, pause, resume or run polling triggers."""
    if context.invoked_subcommand is None:
        _print_triggers(as_json=as_json)


@command
@json_option
def list_(as_json: bool) -> None:
    """List the triggers, as `triggers` alone does."""
    _print_triggers(as_json=as_json)


@command
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Stop evaluating a trigger; an evaluation that a worker has begun is finished."""
    _set_paused(name, True, as_json=as_json)


@command
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Evaluate a paused trigger again, from its cursor."""
    _set_paused(name, False, as_json=as_json)


@command
@click.argument("name")
@json_option
def run(name: str, as_json: bool) -> None:
    """Evaluate a trigger now, also a paused one."""
    with Client(chosen_config()) as client:
        answer = client.call("run_trigger", name=name)
    if as_json:
        write_json(answer)
        return
    write(f"the trigger {name} is evaluated in {answer['group']}{'' if answer['begun'] else ' already'}")
    warn(answer["warning"])


def _set_paused(name: str, paused: bool, *, as_json: bool) -> None:
    with Client(chosen_config()) as client:
        client.call("pause_trigger", name=name, paused=paused)
    if as_json:
        write_json({"name": name, "paused": paused})
    else:
        write(f"the trigger {name} is {'paused' if paused else 'resumed'}")


def _print_triggers(*, as_json: bool) -> None:
    answer = Queue().ask("triggers")
    if as_json:
        write_json(answer)
        return
    from tako_lite.tui.tables import triggers_table

    draw(triggers_table(answer["triggers"], SystemClock().now()))


triggers.add_command(list_, "list")
for _command in (pause, resume, run):
    triggers.add_command(_command)
