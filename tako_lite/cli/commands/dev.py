"""`dev`: the daemon for development."""

from __future__ import annotations

import click

from tako_lite.cli.options import chosen_config, command, json_option, server_option


@command
@server_option
@click.option("--no-web", is_flag=True, help="Serve no dashboard.")
@click.option("--open", "open_browser", is_flag=True, help="Open the dashboard in the browser.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Start only runs of this group; may be repeated.")
@click.option("--no-reload", is_flag=True, help="Do not reload when a file is saved.")
@click.option("--no-schedules", is_flag=True, help="Let no schedule and no trigger start anything.")
@click.option("--once", is_flag=True, help="Execute what is due, then end; exit code 1 if a run died.")
@json_option
def dev(
    server: str | None,
    no_web: bool,
    open_browser: bool,
    groups: tuple[str, ...],
    no_reload: bool,
    no_schedules: bool,
    once: bool,
    as_json: bool,
) -> int:
    """Run the daemon for development: reload on save, readable output, and the dashboard.

    It prints what runs, steps and workers do. A file that is saved with a mistake is reported once, and enqueues of its
    workflows are refused until it is fixed.
    """
    from tako_lite.config import locate
    from tako_lite.dev.command import Options, develop

    options = Options(server, not no_web, open_browser, groups, not no_reload, not no_schedules, once, as_json)
    return develop(locate(chosen_config()), options)
