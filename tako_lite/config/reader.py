"""tako.toml → Config, with all mistakes at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.config import files, monitor, routes, values
from tako_lite.config.collector import Collector
from tako_lite.config.document import Document, read_document, shown
from tako_lite.config.secrets import named_secret, passed_variable, read_sources, spare_secrets
from tako_lite.config.settings import (
    KEEP,
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
from tako_lite.store.opening import DEFAULT_URL

RESERVED_NAMES: Final = frozenset({*SETTINGS, "path"})
"""Keys that can stand in `[workflows]`, and so cannot be names of groups."""


ENTRIES: Final[dict[str, Callable[[str], Reader]]] = {name: kind.entry for name, kind in SETTINGS.items() if kind.entry}
"""The settings that are tables, and what each of their entries accepts."""
_PROJECT_KEYS: Final = ("name", "queue", "secrets", "workflows", "servers", *monitor.TABLES, *routes.TABLES)
_QUEUE_KEYS: Final = ("url", "durability", "keep")


def load(config: str | Path | None = None, *, server: str | None = None) -> Config:
    """The project of a tako.toml or its folder, else of the one that is found; without any, the built-in defaults.

    The server is the one given, else `TAKO_SERVER`, else the host's name. ConfigError carries every mistake.
    """
    return _sound(examine(config, server=server))


class Examined(NamedTuple):
    """The project of a tako.toml as far as it can be read, and every mistake in the file."""

    config: Config
    mistakes: tuple[Mistake, ...]


def examine(config: str | Path | None = None, *, server: str | None = None) -> Examined:
    """The same with its mistakes beside it. ConfigError where there is nothing to read: no such file, no TOML."""
    file = files.locate(config)
    return _examined(file, read_document(file) if file else None, server)


def load_text(text: str, file: Path, *, server: str | None = None) -> Config:
    """The project that a tako.toml would be with another text. ConfigError carries every mistake."""
    return _sound(_examined(file, Document(shown(file), text), server))


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
    """The readers of those settings of a group that are read without looking at other tables."""
    return {name: kind.reader(root) for name, kind in SETTINGS.items() if kind.reader is not None}


class _Reading(Collector):
    """One pass over a document that collects settings and mistakes."""

    def __init__(self, document: Document | None, root: Path) -> None:
        super().__init__(document)
        self._root = root
        self._readers = setting_readers(root)
        self._tables: dict[TablePath, dict[str, Any]] = {}
        self._declared: dict[str, Any] = {}
        self._sources: dict[str, SecretSource] = {}

    def config(self, file: Path | None, server: str, *, server_was_named: bool) -> Config:
        project = self.document.tables if self.document else {}
        for key in project:
            if key not in _PROJECT_KEYS:
                self.unknown((key,), _PROJECT_KEYS)
        name = self.value((), project, "name", values.name) or _name_of(self._root)
        queue = self._queue(self.table(("queue",), project.get("queue", {})))
        self._secrets(project.get("secrets", {}))
        workflows = self.table(("workflows",), project.get("workflows", {}))
        path = self._groups(("workflows",), workflows)
        self._servers(self.table(("servers",), project.get("servers", {})))
        groups = named_groups(self._tables)
        monitoring = monitor.read_monitor(self, project.get("monitor", {}), self._root)
        logs = monitor.read_logs(self, project.get("logs", {}))
        routing = routes.read_routes(self, project, self._tables, server, groups)
        sound = not self.mistakes
        return Config(
            file=file,
            root=self._root,
            name=name,
            server=server,
            queue=queue,
            workflows_path=path or self._root / files.DEFAULT_PATH,
            groups={group: group_settings(self._tables, group, server) for group in groups},
            secrets=self._sources,
            warnings=(
                *(monitor.open_monitor(self, monitoring) if sound else ()),
                *(spare_secrets(self, self._sources, self._tables) if sound else ()),
                *(self._server_warnings(project.get("servers", {}), server) if sound and server_was_named else ()),
            ),
            routes=routing,
            monitor=monitoring,
            logs=logs,
            tables=self._tables,
            document=self.document,
        )

    def _queue(self, queue: dict[str, Any]) -> QueueSettings:
        for key in queue:
            if key not in _QUEUE_KEYS:
                self.unknown(("queue", key), _QUEUE_KEYS)
        read_url = values.queue(self._root)
        url, location = self.value(("queue",), queue, "url", read_url) or read_url(DEFAULT_URL)
        keep = self.entries(("queue", "keep"), queue.get("keep", {}), values.keep_state)
        return QueueSettings(
            url=url,
            location=location,
            durability=self.value(("queue",), queue, "durability", values.durability) or "disk",
            keep={**KEEP, **keep},
        )

    def _secrets(self, declared: Any) -> None:
        self._sources = read_sources(self, declared, self._root)
        self._declared = declared if isinstance(declared, dict) else {}  # one that is wrong is not missing as well

    def _servers(self, servers: dict[str, Any]) -> None:
        for name, value in servers.items():
            path = ("servers", name)
            if not NAME.fullmatch(name):
                self.wrong(path, f"{shown_name(name)} is not a name for a server", NAME_HINT, at_key=True)
                continue
            server = self.table(path, value)
            for key, inner in server.items():
                if key != "workflows":
                    self.unknown((*path, key), ("workflows",), otherwise=_dotted_name_hint(path, key, inner))
            if "workflows" in server:
                workflows = (*path, "workflows")
                self._groups(workflows, self.table(workflows, server["workflows"]))

    def _groups(self, path: TablePath, table: dict[str, Any]) -> Path | None:
        """Reads `[workflows]` or a server's: settings that every group inherits, and a table for each group.

        Gives the folder of the workflow files, where it is set; it is the project's, so only `[workflows]` may.
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
                message = f"{shown_name(name)} is the name of a setting, so it cannot be the name of a group"
                self.wrong((*path, name), message, at_key=True)
            elif not NAME.fullmatch(name):
                message = f"{shown_name(name)} is not a name for a group"
                self.wrong((*path, name), message, NAME_HINT, at_key=True)
            else:
                self._settings((*path, name), value)
        return folder

    def _settings(self, path: TablePath, table: dict[str, Any]) -> None:
        """Reads the settings that one table says itself, and remembers them under its path."""
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
            self.wrong((*path, key), "`path`: can only stand in [workflows]", at_key=True)
        elif path[-1] == "workflows":
            self.unknown((*path, key), SETTINGS, otherwise=f"a group is a table: {label((*path, 'NAME'))}")
        else:
            self.unknown((*path, key), SETTINGS, otherwise=_dotted_name_hint(path, key, value))

    def _server_warnings(self, servers: dict[str, Any], server: str) -> tuple[Mistake, ...]:
        """A warning where the server's name looks like a slip for one that the file knows."""
        hint = None if server in servers else did_you_mean(server, servers)
        if hint is None or self.document is None:
            return ()
        message = f"there is no table for the server {shown_name(server)}"
        return (self.document.mistake(("servers",), message, hint, at_key=True),)


def _dotted_name_hint(path: TablePath, key: str, value: Any) -> str | None:
    """What to do about `[workflows.a.b]`, where a name with a dot may have been meant."""
    if not isinstance(value, dict) or not NAME.fullmatch(key):
        return None
    return f"a name with a dot is written in quotes: {label((*path[:-1], f'{path[-1]}.{key}'))}"


def _name_of(root: Path) -> str:
    """A project's name out of its folder's."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._")
    return name[:128] or "app"
