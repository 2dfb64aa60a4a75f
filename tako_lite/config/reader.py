"""Reads tako.toml into a `Config`, and reports all mistakes at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.config import files, monitor, queue_table, routes, state_folder, values, web
from tako_lite.config.collector import Collector
from tako_lite.config.document import Document, read_document, shown
from tako_lite.config.secrets import named_secret, passed_variable, read_sources, spare_secrets
from tako_lite.config.settings import (
    SETTINGS,
    Config,
    QueueSettings,
    TablePath,
    group_settings,
    label,
    named_groups,
)
from tako_lite.config.values import Reader, shown_name
from tako_lite.errors import BadInput, ConfigError, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, NAME_HINT
from tako_lite.secrets import SecretSource

RESERVED_NAMES: Final = frozenset({*SETTINGS, "path"})
"""Keys of `[workflows]`, which are therefore not available as names of groups."""


ENTRIES: Final[dict[str, Callable[[str], Reader]]] = {name: kind.entry for name, kind in SETTINGS.items() if kind.entry}
"""The settings that are tables. Each has a function from the name of an entry to the entry's reader."""
_PROJECT_KEYS: Final = (
    "name",
    state_folder.KEY,
    "queue",
    "secrets",
    "workflows",
    "servers",
    web.TABLE,
    *monitor.TABLES,
    *routes.TABLES,
)
_SERVER_KEYS: Final = ("groups", "workflows")


def load(config: str | Path | None = None, *, server: str | None = None) -> Config:
    """Load the project at a path, or the one found from the current folder; without a tako.toml, the built-in defaults.

    The server is `server`, else `TAKO_SERVER`, else the host name. Raises ConfigError with every mistake.
    """
    return _sound(examine(config, server=server))


class Examined(NamedTuple):
    """The readable part of a project, and every mistake in its tako.toml."""

    config: Config
    mistakes: tuple[Mistake, ...]


def examine(config: str | Path | None = None, *, server: str | None = None) -> Examined:
    """Like `load`, but returns the mistakes. Raises ConfigError only if the file does not exist or is not TOML."""
    file = files.locate(config)
    return _examined(file, read_document(file) if file else None, server)


def load_text(text: str, file: Path, *, server: str | None = None) -> Config:
    """Load a project as if its tako.toml had another text. Raises ConfigError with every mistake."""
    return _sound(examine_text(text, file, server=server))


def examine_text(text: str, file: Path, *, server: str | None = None) -> Examined:
    """Like `examine`, as if tako.toml had another text. Raises ConfigError only if that is not TOML."""
    return _examined(file, Document(shown(file), text), server)


def _sound(examined: Examined) -> Config:
    if examined.mistakes:
        raise ConfigError(examined.mistakes)
    return examined.config


def _examined(file: Path | None, document: Document | None, server: str | None) -> Examined:
    root = file.parent if file else files.current_folder()
    named = server or os.environ.get("TAKO_SERVER") or None
    if named is not None and not NAME.fullmatch(named):
        raise BadInput(f"{shown_name(named)} is not the name of a server", hint=NAME_HINT)
    reading = _Reading(document, root)
    config = reading.config(file, named or os.uname().nodename, server_was_named=named is not None)
    return Examined(config, tuple(sorted(reading.mistakes, key=lambda mistake: (mistake.line, mistake.column))))


def setting_readers(root: Path) -> dict[str, Reader]:
    """The readers of the group settings that depend on no other table."""
    return {name: kind.reader(root) for name, kind in SETTINGS.items() if kind.reader is not None}


class _Reading(Collector):
    """One pass over a document. It collects the settings and the mistakes."""

    def __init__(self, document: Document | None, root: Path) -> None:
        super().__init__(document)
        self._root = root
        self._readers = setting_readers(root)
        self._tables: dict[TablePath, dict[str, Any]] = {}
        self._declared: dict[str, Any] = {}
        self._sources: dict[str, SecretSource] = {}
        self._served: dict[str, tuple[str, ...]] = {}

    def config(self, file: Path | None, server: str, *, server_was_named: bool) -> Config:
        project = self.document.tables if self.document else {}
        for key in project:
            if key not in _PROJECT_KEYS:
                self.unknown((key,), _PROJECT_KEYS)
        name = self.value((), project, "name", values.name) or _name_of(self._root)
        state_dir = self._state_dir(project)
        queue = queue_table.read_queue(self, project, name, state_dir, self._root)
        self._secrets(project.get("secrets", {}))
        workflows = self.table(("workflows",), project.get("workflows", {}))
        path = self._groups(("workflows",), workflows)
        folder = path or self._root / files.DEFAULT_PATH
        if folder.is_relative_to(state_dir):
            self.wrong((state_folder.KEY,), f"`{state_folder.KEY}`: must not contain the folder of the workflow files")
        self._servers(self.table(("servers",), project.get("servers", {})), queue)
        groups = named_groups(self._tables)
        monitoring = monitor.read_monitor(self, project.get("monitor", {}), self._root)
        logs = monitor.read_logs(self, project.get("logs", {}))
        dashboard = web.read_web(self, project.get(web.TABLE, {}), self._root)
        routing = routes.read_routes(self, project, self._tables, server, groups)
        sound = not self.mistakes
        return Config(
            file=file,
            root=self._root,
            state_dir=state_dir,
            name=name,
            server=server,
            queue=queue,
            workflows_path=folder,
            groups={group: group_settings(self._tables, group, server) for group in groups},
            secrets=self._sources,
            served=self._served.get(server),
            warnings=(
                *(monitor.open_monitor(self, monitoring) if sound else ()),
                *(spare_secrets(self, self._sources, self._tables) if sound else ()),
                *queue_table.queue_warnings(self, queue.location),
                *(self._server_warnings(project.get("servers", {}), server) if sound and server_was_named else ()),
            ),
            routes=routing,
            monitor=monitoring,
            logs=logs,
            web=dashboard,
            tables=self._tables,
            document=self.document,
        )

    def _state_dir(self, project: dict[str, Any]) -> Path:
        read = partial(state_folder.locate_state, root=self._root)
        return self.value((), project, state_folder.KEY, read) or self._root / files.STATE_DIR

    def _secrets(self, declared: Any) -> None:
        self._sources = read_sources(self, declared, self._root)
        self._declared = declared if isinstance(declared, dict) else {}  # an invalid one is not reported as missing too

    def _servers(self, servers: dict[str, Any], queue: QueueSettings) -> None:
        for name, value in servers.items():
            path = ("servers", name)
            if not NAME.fullmatch(name):
                self.wrong(path, f"{shown_name(name)} is not a name for a server", NAME_HINT, at_key=True)
                continue
            server = self.table(path, value)
            for key, inner in server.items():
                if key not in _SERVER_KEYS:
                    self.unknown((*path, key), _SERVER_KEYS, otherwise=_dotted_name_hint(path, key, inner))
            if (groups := self.value(path, server, "groups", values.group_names)) is not None:
                self._served[name] = groups
                if queue.location.is_file:
                    hint = "one daemon serves a queue file; a queue in PostgreSQL lets several share it"
                    self.wrong((*path, "groups"), "`groups`: is for a queue in PostgreSQL", hint, at_key=True)
            if "workflows" in server:
                workflows = (*path, "workflows")
                self._groups(workflows, self.table(workflows, server["workflows"]))

    def _groups(self, path: TablePath, table: dict[str, Any]) -> Path | None:
        """Read `[workflows]`, or that of a server: settings that every group inherits, and a table for each group.

        Returns the folder of the workflow files, if it is set. Only the `[workflows]` of the project may set it.
        """
        groups = {name: value for name, value in table.items() if isinstance(value, dict) and name not in ENTRIES}
        settings = {key: value for key, value in table.items() if key not in groups}
        folder: Path | None = None
        if path == ("workflows",):
            folder = self.value(path, settings, "path", values.folder(self._root))
            settings.pop("path", None)
        self._settings(path, settings)
        for name, value in groups.items():
            if name in RESERVED_NAMES:
                message = f"{shown_name(name)} is the name of a setting; a group needs another name"
                self.wrong((*path, name), message, at_key=True)
            elif not NAME.fullmatch(name):
                message = f"{shown_name(name)} is not a name for a group"
                self.wrong((*path, name), message, NAME_HINT, at_key=True)
            else:
                self._settings((*path, name), value)
        return folder

    def _settings(self, path: TablePath, table: dict[str, Any]) -> None:
        """Read the settings of one table, and store them under its path."""
        read: dict[str, Any] = {}
        for key, value in table.items():
            if key in ENTRIES:
                read[key] = self.entries((*path, key), value, ENTRIES[key])
            elif key == "env_pass":
                read[key] = self.names((*path, key), value, passed_variable(self._sources))
            elif key == "secrets":
                names = self.names((*path, key), value, named_secret(self._declared))
                read[key] = {name: self._sources[name] for name in names if name in self._sources}
            elif key in self._readers:
                if (setting := self.value(path, table, key, self._readers[key])) is not None:
                    read[key] = setting
            else:
                self._unknown_setting(path, key, value)
        if "workers" in read and "max_workers" in read and read["max_workers"] < read["workers"]:
            message = f"`max_workers` is below `workers`, which is {read['workers']} in the same table"
            self.wrong((*path, "max_workers"), message)
        self._tables[path] = read

    def _unknown_setting(self, path: TablePath, key: str, value: Any) -> None:
        if key == "path":
            self.wrong((*path, key), "`path`: is only allowed in [workflows]", at_key=True)
        elif path[-1] == "workflows":
            self.unknown((*path, key), SETTINGS, otherwise=f"a group is a table: {label((*path, 'NAME'))}")
        else:
            self.unknown((*path, key), SETTINGS, otherwise=_dotted_name_hint(path, key, value))

    def _server_warnings(self, servers: dict[str, Any], server: str) -> tuple[Mistake, ...]:
        """A warning if the server's name resembles a name in the file."""
        hint = None if server in servers else did_you_mean(server, servers)
        if hint is None or self.document is None:
            return ()
        message = f"there is no table for the server {shown_name(server)}"
        return (self.document.mistake(("servers",), message, hint, at_key=True),)


def _dotted_name_hint(path: TablePath, key: str, value: Any) -> str | None:
    """The hint for `[workflows.a.b]`, which may be meant as a name with a dot."""
    if not isinstance(value, dict) or not NAME.fullmatch(key):
        return None
    return f"a name with a dot is written in quotes: {label((*path[:-1], f'{path[-1]}.{key}'))}"


def _name_of(root: Path) -> str:
    """The name of a project, from the name of its folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._")
    return name[:128] or "app"
