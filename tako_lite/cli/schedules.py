"""`schedules`: what makes runs by the clock."""

from __future__ import annotations

import click

from tako_lite.cli.enqueue_one import refuse_ended
from tako_lite.cli.options import HELP_NAMES, chosen_config, command, config_option, json_option
from tako_lite.cli.output import draw, warn, write, write_json
from tako_lite.cli.queue import Queue
from tako_lite.client import Client
from tako_lite.clock import SystemClock


@click.group(invoke_without_command=True, context_settings={"help_option_names": HELP_NAMES})
@config_option
@json_option
@click.pass_context
def schedules(context: click.Context, as_json: bool) -> None:
    """List, pause, resume or run schedules; a schedule has the name of its workflow."""
    if context.invoked_subcommand is None:
        _print_schedules(as_json=as_json)


@command
@json_option
def list_(as_json: bool) -> None:
    """List the schedules, as `schedules` alone does."""
    _print_schedules(as_json=as_json)


@command
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Make no more runs from a schedule; slots that pass meanwhile are passed over."""
    _set_paused(name, True, as_json=as_json)


@command
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let a paused schedule make runs again, from its next slot."""
    _set_paused(name, False, as_json=as_json)


@command
@click.argument("name")
@json_option
def run(name: str, as_json: bool) -> None:
    """Make one run now, as the schedule would; its slots stay as they are."""
    with Client(chosen_config()) as client:
        made = client.call("run_schedule", workflow=name)
    if as_json:
        write_json(made)
    else:
        write(f"{made['id']} {made['state']} in {made['group']}")
    refuse_ended(made["id"], made["state"], made.get("warning"))
    if not as_json:
        warn(made.get("warning"))


def _set_paused(name: str, paused: bool, *, as_json: bool) -> None:
    with Client(chosen_config()) as client:
        client.call("pause_schedule", workflow=name, paused=paused)
    if as_json:
        write_json({"workflow": name, "paused": paused})
    else:
        write(f"the schedule of {name} is {'paused' if paused else 'resumed'}")


def _print_schedules(*, as_json: bool) -> None:
    answer = Queue().ask("schedules")
    if as_json:
        write_json(answer)
        return
    from tako_lite.tui.tables import schedules_table

    draw(schedules_table(answer["schedules"], SystemClock().now()))


schedules.add_command(list_, "list")
for _command in (pause, resume, run):
    schedules.add_command(_command)
