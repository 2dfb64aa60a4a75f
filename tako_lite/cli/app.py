"""The table of commands."""

from __future__ import annotations

from typing import Final

import click

from tako_lite import __version__
from tako_lite.cli.lazy import LazyGroup
from tako_lite.cli.options import HELP_NAMES, config_option

COMMANDS: Final = {
    "serve": ("tako_lite.cli.commands.serve", "Run the daemon in the foreground."),
    "init": ("tako_lite.cli.commands.init", "Make a project with a workflow and a test that passes."),
    "dev": ("tako_lite.cli.commands.dev", "Run the daemon for development: reload on save, readable output."),
    "demo": ("tako_lite.cli.commands.demo", "See tako-lite at work, without a project of your own."),
    "enqueue": ("tako_lite.cli.commands.enqueue", "Put runs of a workflow into the queue."),
    "status": ("tako_lite.cli.commands.status", "Show the groups, their workers and their backlogs."),
    "runs": ("tako_lite.cli.commands.runs", "List runs, the newest first."),
    "show": ("tako_lite.cli.commands.runs", "Show one run with its steps."),
    "logs": ("tako_lite.cli.commands.logs", "Print the output of workers."),
    "why": ("tako_lite.cli.commands.runs", "Explain in one sentence why a run is in its state."),
    "signal": ("tako_lite.cli.commands.run_actions", "Store a signal and wake the runs that wait for it."),
    "discard": ("tako_lite.cli.commands.run_actions", "Acknowledge dead runs, so that they are no longer counted."),
    "cancel": ("tako_lite.cli.commands.run_actions", "Cancel runs that have not ended."),
    "retry": ("tako_lite.cli.commands.run_actions", "Re-queue dead and cancelled runs."),
    "edit": ("tako_lite.cli.commands.edits", "Change a run that no worker has."),
    "run-now": ("tako_lite.cli.commands.edits", "Start runs at once that are due later."),
    "move": ("tako_lite.cli.commands.edits", "Move runs to another group."),
    "activity": ("tako_lite.cli.commands.activity", "List what people changed by hand."),
    "groups": (
        "tako_lite.cli.commands.groups",
        "Show the worker groups, or change their tables in tako.toml.",
    ),
    "health": ("tako_lite.cli.commands.monitoring", "Exit with 0 if the daemon is healthy, else with 1."),
    "metrics": ("tako_lite.cli.commands.monitoring", "Print all metrics in the text format of Prometheus."),
    "pause": ("tako_lite.cli.commands.groups", "Stop starting runs of a group."),
    "resume": ("tako_lite.cli.commands.groups", "Let a paused or failing group start runs again."),
    "scale": ("tako_lite.cli.commands.groups", "Change the number of workers of a group."),
    "schedules": ("tako_lite.cli.commands.schedules", "List, pause, resume or run schedules."),
    "triggers": ("tako_lite.cli.commands.triggers", "List, pause, resume or run polling triggers."),
    "workflows": ("tako_lite.cli.commands.project", "List the workflows of the project."),
    "check": ("tako_lite.cli.commands.project", "Report every mistake in tako.toml and the workflow files."),
    "replay": ("tako_lite.cli.commands.replay", "Check that the code fits stored runs."),
    "config": ("tako_lite.cli.commands.project", "Show every setting of every group and its source."),
    "reload": ("tako_lite.cli.commands.project", "Read tako.toml and the workflow files again."),
    "stop": ("tako_lite.cli.commands.stop", "Stop the daemon, and wait until it has ended."),
    "backup": ("tako_lite.cli.commands.maintenance", "Copy the queue into a file while it is in use."),
    "restore": ("tako_lite.cli.commands.maintenance", "Replace the queue by a copy of FILE, which `backup` has written."),
    "prune": ("tako_lite.cli.commands.maintenance", "Delete ended runs that are past their retention."),
    "copy-queue": ("tako_lite.cli.commands.moving", "Copy the whole queue into PostgreSQL, or back into a file."),
    "migrate": ("tako_lite.cli.commands.moving", "Create the tables of the queue, or bring them up to date."),
    "web": ("tako_lite.cli.commands.web", "Serve the dashboard in the foreground."),
    "schema": ("tako_lite.cli.commands.schema", "Print the JSON Schema of tako.toml, for editors."),
    "completion": (
        "tako_lite.cli.commands.completion",
        "Print the script that has a shell complete the command line.",
    ),
    "systemd": ("tako_lite.cli.commands.systemd", "Print the units of systemd for this project, or install them."),
    "doctor": ("tako_lite.cli.commands.doctor", "Find problems and print how to fix them."),
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
