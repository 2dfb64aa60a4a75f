"""The table of commands."""

from __future__ import annotations

from typing import Final

import click

from tako_lite import __version__
from tako_lite.cli.lazy import LazyGroup
from tako_lite.cli.options import HELP_NAMES, config_option

COMMANDS: Final = {
    "serve": ("tako_lite.cli.serve", "Run the daemon in the foreground."),
    "enqueue": ("tako_lite.cli.enqueue", "Put runs of a workflow into the queue."),
    "status": ("tako_lite.cli.status", "Show the groups, their workers and what waits."),
    "runs": ("tako_lite.cli.runs", "List runs, the newest first."),
    "show": ("tako_lite.cli.runs", "Show one run with its steps."),
    "logs": ("tako_lite.cli.logs", "Print what workers wrote."),
    "why": ("tako_lite.cli.runs", "Say in a sentence why a run is where it is."),
    "signal": ("tako_lite.cli.run_actions", "Store a signal and wake the runs that wait for it."),
    "discard": ("tako_lite.cli.run_actions", "Acknowledge dead runs, so that no count has them."),
    "cancel": ("tako_lite.cli.run_actions", "Cancel runs that are not over."),
    "retry": ("tako_lite.cli.run_actions", "Take dead and cancelled runs back into the queue."),
    "groups": (
        "tako_lite.cli.group_tables",
        "Show the worker groups, or change their tables in tako.toml.",
    ),
    "pause": ("tako_lite.cli.groups", "Start no more runs of a group."),
    "resume": ("tako_lite.cli.groups", "Let a paused or failing group start runs again."),
    "scale": ("tako_lite.cli.groups", "Change the number of workers of a group."),
    "schedules": ("tako_lite.cli.schedules", "List, pause, resume or run schedules."),
    "triggers": ("tako_lite.cli.triggers", "List, pause, resume or run polling triggers."),
    "workflows": ("tako_lite.cli.project", "List the workflows of the project."),
    "check": ("tako_lite.cli.project", "Report every mistake in tako.toml and the workflow files."),
    "config": ("tako_lite.cli.project", "Show every setting of every group and where it came from."),
    "reload": ("tako_lite.cli.project", "Read tako.toml and the workflow files again."),
    "backup": ("tako_lite.cli.maintenance", "Copy the queue file while it is in use."),
    "prune": ("tako_lite.cli.maintenance", "Delete runs that ended longer ago than they are kept."),
    "doctor": ("tako_lite.cli.doctor", "Look for what is wrong and say how to fix it."),
}


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"tako-lite {__version__}")
        context.exit()


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": HELP_NAMES})
@config_option
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version and exit."
)
def app() -> None:
    """Durable background workflows on one machine."""
