"""`health` and `metrics`: what monitoring systems ask, without a port."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from tako_lite.cli.health import exit_code, report, verdict
from tako_lite.cli.options import chosen_config, command, duration, json_option
from tako_lite.cli.output import json_text, write, write_json
from tako_lite.client import Client
from tako_lite.client.project import Project
from tako_lite.errors import BadInput
from tako_lite.records import SCHEMA


@command
@click.option("--ready", is_flag=True, help="Also fail if the daemon cannot take and start runs.")
@click.option(
    "--group", "groups", multiple=True, metavar="NAME", help="Also fail if this group takes no runs; implies --ready."
)
@click.option(
    "--max-lag", type=duration, metavar="DURATION", help="Also fail if a due run of a group, or of --group, has waited longer."
)
@json_option
def health(ready: bool, groups: tuple[str, ...], max_lag: float | None, as_json: bool) -> int:
    """Exit with 0 if the daemon is healthy, else with 1.

    For the health checks of containers, systemd and deployments. It needs no port, answers within 2 seconds, and never starts
    a daemon. Paused groups do not count for --max-lag.
    """
    found = verdict(Project(chosen_config()), ready=ready or bool(groups), groups=list(groups), max_lag=max_lag)
    if as_json:
        write_json(found)
        return exit_code(found)
    return report(found)


@command
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Replace FILE at once, such as one of node_exporter's textfile collector.",
)
@json_option
def metrics(output: Path | None, as_json: bool) -> None:
    """Print all metrics in the text format of Prometheus.

    Without a daemon, `tako_up` is 0, and only the gauges that the queue has are printed.
    """
    from tako_lite.daemon.monitor.exposition import Family, render

    project = Project(chosen_config())
    is_up = project.has_daemon()
    with Client(chosen_config()) as client:
        if is_up:
            families = [Family.from_json(family) for family in client.call("metrics")["families"]]
        else:
            from tako_lite.daemon.monitor.offline import offline_families

            families = offline_families(client.call("status"), project.config().queue.location)
    document = {"schema": SCHEMA, "up": is_up, "families": [family.as_json() for family in families]}
    text = f"{json_text(document)}\n" if as_json else render(families)
    if output is not None:
        _replace(output, text)
        return
    for line in text.splitlines():
        write(line)


def _replace(file: Path, text: str) -> None:
    """Write a text beside a file and rename it, so that a reader never sees a part of it. Raises BadInput."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
