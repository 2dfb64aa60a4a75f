"""`workflows`, `check`, `config` and `reload`: commands about the project's files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tako_lite.cli.options import chosen_config, command, json_option, server_option
from tako_lite.cli.output import draw, warn, write, write_json
from tako_lite.cli.projectfiles import read_files
from tako_lite.cli.queue import QueueReader
from tako_lite.client import Client
from tako_lite.config.listen import Listen
from tako_lite.errors import ConfigError, Mistake
from tako_lite.secrets import SecretSource
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog

FORMATS: Final = ("text", "json", "github", "sarif")


@command
@json_option
def workflows(as_json: bool) -> None:
    """List the workflows of the project with their groups."""
    answer = QueueReader().ask("workflows")
    if as_json:
        write_json(answer)
        return
    from tako_lite.tui.tables import workflows_table

    draw(workflows_table(answer["workflows"]))


@command
@server_option
@click.option(
    "--format",
    "wanted",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="text for people, json, github for annotations of a pull request, sarif for code scanning.",
)
@click.option("--stdin", "file", metavar="FILE", help="Read the text of FILE from stdin, as an editor has it before it saves.")
@json_option
def check(server: str | None, wanted: str, file: str | None, as_json: bool) -> int:
    """Report every mistake in tako.toml and the workflow files; exit code 3 if there is one.

    With warnings only, the exit code is 0. Nothing is imported or started.
    """
    from tako_lite.cli.remarks import printed

    mistakes, warnings, catalog = _findings(server) if file is None else (*_findings_in(file, server), None)
    form = "json" if as_json else wanted
    if form == "json":
        found = {"mistakes": mistakes, "warnings": warnings}
        write_json({kind: [mistake._asdict() for mistake in list] for kind, list in found.items()})
    elif form != "text":
        for line in printed(form, mistakes, warnings):
            write(line)
    else:
        for mistake in mistakes:
            write(str(mistake))
        for warning in warnings:
            write(f"warning: {warning}")
        size = f" in {_size(catalog)}" if catalog is not None else ""
        write(f"{counted(len(mistakes), 'mistake')}, {counted(len(warnings), 'warning')}{size}")
    return ConfigError.exit_code if mistakes else 0


def _size(catalog: Catalog) -> str:
    """The numbers of workflows and files, so that a missing workflow is noticed."""
    files = {spec.file for spec in catalog.workflows.values()}
    return f"{counted(len(catalog.workflows), 'workflow')} of {counted(len(files), 'file')}"


def _findings(server: str | None) -> tuple[Sequence[Mistake], Sequence[Mistake], Catalog | None]:
    """The mistakes, the warnings, and the catalog if the files have no mistakes."""
    from tako_lite.config import unreadable_secrets
    from tako_lite.config.env_file import env_file_mistakes

    files = read_files(server)
    wrong, missing = env_file_mistakes(files.settings) if files.settings else ((), ())
    secrets = unreadable_secrets(files.settings) if files.settings else ()
    mistakes = (*files.of_config.mistakes, *wrong, *files.of_catalog.mistakes)
    return mistakes, (*files.of_config.warnings, *missing, *secrets, *files.of_catalog.warnings), files.catalog


def _findings_in(file: str, server: str | None) -> tuple[Sequence[Mistake], Sequence[Mistake]]:
    """The mistakes and the warnings of one file, with the text of stdin in its place."""
    from tako_lite.cli.unsaved import read_unsaved

    return read_unsaved(Path(file), sys.stdin.buffer.read(), server)


@command
@server_option
@json_option
def config(server: str | None, as_json: bool) -> None:
    """Show every setting of every group and its source: a table of tako.toml, `scale`, or built-in."""
    from tako_lite.cli.project_catalog import catalog_of
    from tako_lite.config import load
    from tako_lite.group_report import effective_groups

    settings = load(chosen_config(), server=server)
    groups = effective_groups(settings, catalog_of(settings))
    about = {
        "file": str(settings.file) if settings.file else None,
        "name": settings.name,
        "server": settings.server,
        "state_dir": str(settings.state_dir),
        "queue": {
            "url": settings.queue.url,
            **settings.queue.location.shown,
            "durability": settings.queue.durability,
            "keep": dict(settings.queue.keep),
        },
        **{name: _table(getattr(settings, name)) for name in ("monitor", "logs", "web")},
    }
    if as_json:
        write_json({**about, "groups": groups})
        return
    from tako_lite.tui.tables import config_view

    draw(config_view(about, groups))


def _table(settings: Any) -> dict[str, Any]:
    """The settings of a table as JSON: an address and the source of a secret as they are written, times in seconds."""
    found = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return {name: str(value) if isinstance(value, Listen | SecretSource) else value for name, value in found.items()}


@command
@json_option
def reload(as_json: bool) -> None:
    """Read tako.toml and the workflow files again.

    If they have a mistake, nothing changes. Only the workers of changed groups are replaced.
    """
    with Client(chosen_config(), source="cli") as client:
        answer = client.call("reload")
    if as_json:
        write_json(answer)
        return
    write(f"changed: {', '.join(answer['changed'])}" if answer["changed"] else "nothing changed")
    for about in (*answer.get("other_code", ()), *answer.get("vanished", ())):
        write(about["message"])
    for warning in answer["warnings"]:
        warn(warning)
