"""`doctor`: checks a project and prints a fix for each problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tako_lite.cli.checks import CHECKS, CheckContext, Finding
from tako_lite.cli.checks.secrets import env_files, secrets
from tako_lite.cli.options import chosen_config, command, json_option, server_option
from tako_lite.cli.output import write, write_json
from tako_lite.cli.projectfiles import ProjectFiles, Remarks, read_files
from tako_lite.client.project import Project
from tako_lite.clock import SystemClock
from tako_lite.config.state_folder import queue_url
from tako_lite.errors import ConfigError, Mistake, TakoError
from tako_lite.finding import quoted
from tako_lite.store.opening import queue_at
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.config import Config

FILES: Final = ("config", "catalog")
FIRST: Final = "fix the findings of `permissions` and `space`, then run tako-lite doctor again"


@command
@server_option
@click.option("--deep", is_flag=True, help="Read the whole queue file to find damage; PostgreSQL checks itself.")
@click.option(
    "--rescue",
    "rescued",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only copy what is readable of a damaged queue into a new queue FILE.",
)
@json_option
def doctor(server: str | None, deep: bool, rescued: Path | None, as_json: bool) -> int:
    """Find problems and print how to fix them.

    Works with and without a daemon, and changes, starts and imports nothing. The exit code is 0 without a problem, 3 with
    mistakes in tako.toml or the workflow files, and 1 with other problems.

    --rescue needs the daemon to be stopped; its exit code is 0 if nothing was lost, else 1.
    """
    if rescued is not None:
        if deep:
            raise click.UsageError("--rescue cannot be combined with --deep: it reads the whole file anyway")
        from tako_lite.cli.rescue import rescue

        return rescue(server, rescued, as_json=as_json)
    findings = list(_findings(server, deep=deep))
    if as_json:
        write_json({"findings": [finding.as_json() for finding in findings]})
    else:
        _print(findings)
    bad = {finding.check for finding in findings if finding.level == "problem"}
    return ConfigError.exit_code if bad & set(FILES) else TakoError.exit_code if bad else 0


def _findings(server: str | None, *, deep: bool) -> Iterator[Finding]:
    project, files = Project(chosen_config()), read_files(server)
    yield from _of_remarks("config", files.of_config)
    about_lines = [warning for warning in files.of_catalog.warnings if warning.line]  # `_of_settings` reports a missing folder
    yield from _of_remarks("catalog", files.of_catalog._replace(warnings=about_lines))
    location = (
        files.settings.queue.location if files.settings else queue_at(queue_url(project.state_dir, project.root), project.root)
    )
    if files.settings:
        yield from _of_settings(files.settings, files)
    has_daemon = False
    with suppress(OSError):  # `permissions` reports a lock that cannot be read
        has_daemon = project.has_daemon()
    context = CheckContext(project, location, has_daemon, deep, SystemClock(), files.catalog)
    of_queue = [(name, partial(check, context.queue_check)) for name, check in location.checks()]
    for name, check in (*of_queue, *((check.__name__, partial(check, context)) for check in CHECKS)):
        try:
            yield from check()
        except TakoError as error:
            yield Finding(name, "problem", error.message, error.hint or FIRST)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            yield Finding(name, "problem", f"the check failed: {what}", FIRST)


def _of_remarks(check: str, remarks: Remarks) -> Iterator[Finding]:
    for mistake in remarks.mistakes:
        yield Finding(check, "problem", f"{mistake.place}: {mistake.message}", _edit(mistake))
    for warning in remarks.warnings:
        yield Finding(check, "warning", f"{warning.place}: {warning.message}", _edit(warning))


def _of_settings(settings: Config, files: ProjectFiles) -> Iterator[Finding]:
    """The findings about the workflow folder, tako.toml and secrets if tako.toml has no mistakes."""
    folder = settings.workflows_path
    if not folder.exists():
        fix = f"mkdir {quoted(folder)}, or set `path` in [workflows] of tako.toml to another folder"
        yield Finding("catalog", "warning", f"the folder {folder} does not exist, so there are no workflows", fix)
    elif files.catalog is not None:
        yield Finding("catalog", "ok", f"{counted(len(files.catalog.workflows), 'workflow')} in {folder}")
    if settings.file is None:
        yield Finding(
            "config", "info", f"no tako.toml in {settings.root} or above: all settings are built-in", "choose one with -c"
        )
    elif not files.of_config.warnings:
        yield Finding("config", "ok", f"{settings.file} has no mistakes")
    yield from secrets(settings)
    yield from env_files(settings)


def _edit(mistake: Mistake) -> str:
    if not mistake.line:
        return mistake.hint or f"fix {mistake.file}"
    return f"edit line {mistake.line} of {mistake.file}" + (f": {mistake.hint}" if mistake.hint else "")


def _print(findings: Iterable[Finding]) -> None:
    """Print one line per finding with its fix below, and the counts at the end."""
    counts: Counter[str] = Counter()
    for finding in findings:
        counts[finding.level] += 1
        write(_line(f"{finding.level:<8} {finding.check:<12} {finding.message}"))
        if finding.fix:
            write(_line(f"{'':<8} {'':<12} fix: {finding.fix}"))
    problems, warnings = counted(counts["problem"], "problem"), counted(counts["warning"], "warning")
    write(f"{problems}, {warnings}, {counts['info']} info, {counts['ok']} ok")


def _line(text: str) -> str:
    return " ".join(text.splitlines())
