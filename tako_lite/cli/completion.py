"""What the shell offers for an argument: names of the project, and the newest runs. It starts nothing and prints no error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from tako_lite.config.files import DEFAULT_PATH, FILE_NAME
from tako_lite.stamps import file_stamp

if TYPE_CHECKING:
    from tako_lite.client.project import Project

VARIABLE: Final = "_TAKO_LITE_COMPLETE"
"""Says which shell asks for what, as click has it."""
NEWEST: Final = 50
SHOWN_ID: Final = 8
CACHE: Final = "catalog.json"
"""The file in the state folder with the names of the workflow files, so that these are read again only after a change."""

Names = dict[str, dict[str, str]]
"""By kind, the names and a note about each: the group of a workflow, the schedule of one that has one."""

KINDS: Final = {
    "workflow": "workflows",
    "group": "groups",
    "groups": "groups",
    "worker": "groups",
    "to": "groups",
    "tenant": "tenants",
    "server": "servers",
    "run": "runs",
    "runs": "runs",
    "parent": "runs",
}
"""What arguments and options of these names take. `NAME` is one of its family: a schedule, a trigger or a group."""


def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The values of an argument or option that begin with what is typed; none if the project cannot be read."""
    kind = KINDS.get(parameter.name or "") or (context.parent and context.parent.info_name) or ""
    with suppress(Exception):
        config = context.find_root().obj
        found = _runs(config) if kind == "runs" else _names(config).get(kind, {}).items()
        return [CompletionItem(value, help=note) for value, note in found if value.startswith(incomplete)]
    return []


def completes(parameter: click.Parameter) -> bool:
    """Whether `complete` knows the values of a parameter."""
    return parameter.name in KINDS or (parameter.name == "name" and isinstance(parameter, click.Argument))


def answer_shell(app: click.Command, instruction: str) -> int:
    """Print a completion script, or the completions that a shell asks for."""
    from click.shell_completion import shell_complete

    return shell_complete(app, {}, "tako-lite", VARIABLE, instruction)


def _runs(config: str | None) -> Iterator[tuple[str, str]]:
    """The endings of the newest runs, with their workflow and state."""
    from tako_lite.client import Client

    with Client(config, source="cli") as client:
        runs = client.call("runs", limit=NEWEST)["runs"]
    for run in runs:
        yield run["id"][-SHOWN_ID:], f"{run['workflow']} {run['state']}"


def _names(config: str | None) -> Names:
    """The names of the project, from the cache if no file has changed since."""
    from tako_lite.client.project import Project

    project = Project(config)
    stamp = _stamp(project)
    cache = project.state_dir / CACHE
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(cache.read_bytes())
        if stored["stamp"] == stamp:
            names: Names = stored["names"]
            return names
    names = _read_names(project)
    with suppress(OSError):  # without a state folder, nothing is kept: completion makes none
        _write(cache, {"stamp": stamp, "names": names})
    return names


def _stamp(project: Project) -> list[Any]:
    """Changes whenever tako.toml or a workflow file does. It imports nothing that reads either: a shell is waiting."""
    settings = project.root / FILE_NAME
    folder = project.root / DEFAULT_PATH
    if not folder.is_dir():  # tako.toml names another one
        folder = project.config().workflows_path
    sources = [Path(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".py")]
    return [[str(file), *stamp] for file in (settings, *sorted(sources)) if (stamp := file_stamp(file)) is not None]


def _read_names(project: Project) -> Names:
    from tako_lite.catalog import survey
    from tako_lite.config import examine

    config = examine(project.file).config
    catalog, _ = survey(config.workflows_path, config.root, config.routes)
    workflows = catalog.workflows
    groups = dict.fromkeys(sorted({"default", *config.groups, *catalog.groups}), "")
    for name in groups:
        groups[name] = config.group(name).description or ", ".join(spec.name for spec in catalog.group(name))[:60]
    return {
        "workflows": {name: f"in {spec.group}" for name, spec in sorted(workflows.items())},
        "groups": groups,
        "schedules": {name: spec.options.schedule for name, spec in sorted(workflows.items()) if spec.options.schedule},
        "triggers": {name: f"starts {spec.options.starts}" for name, spec in sorted(catalog.triggers.items())},
        "tenants": dict.fromkeys(config.routes.tenants, ""),
        "servers": dict.fromkeys((config.document.tables.get("servers", {}) if config.document else {}), ""),
    }


def _write(file: Path, document: dict[str, Any]) -> None:
    """Replace the cache, if there is a state folder."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(document, stream)
    draft.replace(file)
