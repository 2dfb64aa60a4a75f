"""The edits of `groups add`, `set` and `rm`: validated first, then applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tako_lite.cli.options import chosen_config
from tako_lite.cli.toml_draft import Draft, draft
from tako_lite.client import Client
from tako_lite.config import Config, load
from tako_lite.config.assignments import assignment, group_name
from tako_lite.config.settings import label
from tako_lite.config.toml_edit import UNSET, Path, with_setting, with_table, without_table
from tako_lite.errors import BadInput, DaemonUnreachable, WrongProject
from tako_lite.project_lint import naming, read_catalog
from tako_lite.routing import DEFAULT, unknown_group
from tako_lite.units import counted


@dataclass(frozen=True, slots=True)
class GroupEdit:
    """A valid change of tako.toml. If it removes a group, the `live` runs of that group move to the group `to`."""

    draft: Draft
    removed: str | None = None
    to: str | None = None
    live: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether the text of the file changes."""
        return self.draft.before != self.draft.after

    def carry_out(self) -> dict[str, Any]:
        """Save the file, make a running daemon reload it, and move the runs; return what was done."""
        if self.changes:
            self.draft.save()
        warnings, reloaded, moved = list(self.warnings), False, 0
        with Client(chosen_config(), source="cli") as client:
            try:
                warnings += client.call("reload")["warnings"]
                reloaded = True
            except DaemonUnreachable:
                pass
            except WrongProject as error:
                warnings.append(not_reloaded(error))
                return {"reloaded": False, "served_elsewhere": True, "moved": 0, "warnings": warnings}
            if self.removed is not None and (reloaded or self.draft.config.queue.location.exists()):
                moved = client.call("move_group", group=self.removed, to=self.to)["moved"]
        return {"reloaded": reloaded, "moved": moved, "warnings": warnings}


def not_reloaded(error: WrongProject) -> str:
    """The warning about a saved file that no running daemon reads."""
    return f"the change takes effect once a daemon serves this file: {error.message}"


def add(config_path: str | None, name: str, words: Sequence[str]) -> GroupEdit:
    """The edit that adds a table for a group without one. Raises BadInput, ConfigError, CatalogError."""
    config, table = load(config_path), ("workflows", group_name(name))
    if table in config.tables and config.document is not None:
        place = config.document.mistake(table, "", at_key=True)
        hint = f"use tako-lite groups set {name} KEY=VALUE to change it"
        raise BadInput(f"{label(table)} already exists: {place.file}:{place.line}", hint=hint)
    return _with(config, table, words)


def change(config_path: str | None, name: str, words: Sequence[str]) -> GroupEdit:
    """The edit that changes settings of an existing group. Raises NotFound, BadInput, ConfigError, CatalogError."""
    config = load(config_path)
    known = {*config.groups, *read_catalog(config).groups}
    if name not in known:
        raise unknown_group(name, known)
    return _with(config, ("workflows", name), words)


def _with(config: Config, table: Path, words: Sequence[str]) -> GroupEdit:
    settings = dict(assignment(word, config.root) for word in words)
    needed = not settings or any(value is not UNSET for value in settings.values())

    def edit(text: str) -> str:
        text = with_table(text, table) if needed else text
        for key, value in settings.items():
            text = with_setting(text, table, key, value)
        return text

    made = draft(config, edit)
    sources = made.config.sources(table[-1])
    others = [key[0] for key, value in settings.items() if value is not UNSET and len(key) == 1]
    warnings = [
        f"{key}: {sources[key]} overrides it on server {made.config.server}" for key in others if sources[key] != label(table)
    ]
    return GroupEdit(made, warnings=warnings)


def remove(config_path: str | None, name: str, to: str | None) -> GroupEdit:
    """The edit that removes a group. Raises BadInput while something refers to it, or if it has live runs and `to` is None."""
    config = load(config_path)
    catalog = read_catalog(config)
    known = {*config.groups, *catalog.groups}
    live = _live(name)
    if name not in known and not live:
        raise unknown_group(name, known)
    if name == DEFAULT:
        raise BadInput("the group default always exists and cannot be removed")
    if to is not None and (to == name or to not in known):
        raise unknown_group(to, known - {name})
    if places := naming(config, catalog, name):
        raise BadInput(f"group {name} is still used: {', '.join(places)}", hint="change these places to another group first")
    if live and to is None:
        hint = f"move them with --to GROUP, or cancel them with tako-lite cancel --group {name}"
        raise BadInput(f"group {name} has {counted(live, 'run')} that {'has' if live == 1 else 'have'} not ended", hint=hint)
    tables = [path for path in config.tables if path[-1] == name and len(path) in (2, 4)]

    def edit(text: str) -> str:
        for table in tables:
            text = without_table(text, table)
        return text

    return GroupEdit(draft(config, edit), name, to, live)


def _live(group: str) -> int:
    """The number of runs of a group that have not ended."""
    with Client(chosen_config(), source="cli") as client:
        for found in client.call("status")["groups"]:
            if found["name"] == group:
                return int(found["pending"] + found["running"] + found["waiting"])
    return 0
