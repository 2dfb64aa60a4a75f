"""The settings that tako.toml amounts to, and which table each of them came from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from tako_lite.config import kinds, values
from tako_lite.config.document import Document
from tako_lite.config.kinds import Kind
from tako_lite.config.monitor_settings import LogSettings, MonitorSettings
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import Mistake
from tako_lite.hints import did_you_mean
from tako_lite.options import Fallback
from tako_lite.routing import Routes
from tako_lite.secrets import SecretSource
from tako_lite.store.opening import Durability, Queue
from tako_lite.templates import is_template, may_name

DEFAULT_GROUP: Final = "default"
BUILT_IN: Final = "built-in"

TablePath = tuple[str, ...]
Tables = Mapping[TablePath, Mapping[str, Any]]
"""What each table with group settings says itself, by its path: `("servers", "lax", "workflows", "media")`."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_DAY: Final = 86_400.0
_ONE_MEGABYTE: Final = 1_000_000
KEEP: Final[Mapping[str, float | None]] = {"succeeded": 7 * _DAY, "cancelled": 7 * _DAY, "dead": 90 * _DAY}


def _setting(default: Any, kind: Kind) -> Any:
    """A field for a setting of this kind."""
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How one worker group runs. Times are seconds, sizes bytes; `max_workers` is never below `workers`."""

    name: str
    workers: int = _setting(0, kinds.whole(0, 1000))
    max_workers: int = _setting(1, kinds.whole(1, 1000))
    concurrency: int = _setting(10, kinds.whole(1, 10_000))
    idle_timeout: float = _setting(300.0, kinds.duration())
    max_runs: int | None = _setting(None, kinds.whole(1, 1_000_000_000))
    max_memory: int | None = _setting(None, kinds.size(_ONE_MEGABYTE))
    drain_timeout: float = _setting(30.0, kinds.duration())
    startup_timeout: float = _setting(30.0, kinds.duration(0.1))
    heartbeat_timeout: float = _setting(30.0, kinds.duration(1.0))
    max_crashes: int = _setting(3, kinds.whole(1, 1_000_000))
    env: Mapping[str, str] = _setting({}, kinds.table(values.variable))
    env_pass: tuple[str, ...] = _setting((), kinds.array(values.passed_variable))
    env_file: str | None = _setting(None, Kind(values.file))
    secrets: Mapping[str, SecretSource] = _setting({}, kinds.secrets())
    nice: int = _setting(0, kinds.whole(-20, 19))
    limits: Mapping[str, int] = _setting({}, kinds.table(values.limit))
    python: str | None = _setting(None, Kind(values.interpreter))
    setup: str | None = _setting(None, kinds.plain(values.function))
    teardown: str | None = _setting(None, kinds.plain(values.function))
    description: str | None = _setting(None, kinds.plain(values.text))
    fallback: Fallback | None = _setting(None, kinds.plain(values.fallback))
    wait_timeout: float | None = _setting(None, kinds.duration())
    allowed_tenants: tuple[str, ...] | None = _setting(None, kinds.array(values.name, values.tenants))


SETTINGS: Final[Mapping[str, Kind]] = {
    setting.name: setting.metadata["kind"] for setting in fields(GroupSettings) if setting.name != "name"
}
"""The settings of a group with their kinds, in the order in which they are printed."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Where the queue is, how hard it is written, and how long ended runs are kept (None is forever)."""

    url: str
    location: Queue
    durability: Durability = "disk"
    keep: Mapping[str, float | None] = field(default_factory=lambda: dict(KEEP))

    @property
    def shared(self) -> bool:
        """Whether several servers may serve the queue."""
        return not self.location.is_file


@dataclass(frozen=True, slots=True)
class Config:
    """A project as its tako.toml describes it, seen from one server.

    `groups` holds `default` and every group that the file names; `group` also answers for one that only a
    decorator names. `tables` and `document` are what those answers and the positions of warnings come from.
    `state_dir` is the folder of the sockets, the locks and the logs. `served` are the groups that this server
    serves, None for all.
    """

    file: Path | None
    root: Path
    state_dir: Path
    name: str
    server: str
    queue: QueueSettings
    workflows_path: Path
    groups: Mapping[str, GroupSettings]
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    served: tuple[str, ...] | None = None
    warnings: tuple[Mistake, ...] = ()
    routes: Routes = field(default_factory=Routes)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    web: WebSettings = field(default_factory=WebSettings)
    tables: Tables = field(default_factory=dict, repr=False)
    document: Document | None = field(default=None, repr=False, compare=False)

    def group(self, name: str) -> GroupSettings:
        """The settings of a group; one without a table of its own inherits them all."""
        return self.groups.get(name) or group_settings(self.tables, name, self.server)

    def sources(self, name: str) -> Mapping[str, str]:
        """The table that each setting of a group came from, such as `[workflows.media]` or `built-in`.

        `env` is merged from several tables: the entry names the last, `env.NAME` the one of each variable.
        """
        return _resolved(self.tables, name, self.server)[1]


def group_settings(tables: Tables, name: str, server: str) -> GroupSettings:
    """The settings of a group on a server, out of all tables that say something about it."""
    return GroupSettings(name, **_resolved(tables, name, server)[0])


def said_for_all(tables: Tables, name: str, server: str, key: str) -> bool:
    """Whether a setting of a group is one that every group inherits, and not its own."""
    paths = [path for path in _precedence(name, server) if key in tables.get(path, {})]
    return bool(paths) and not _names_a_group(paths[-1])


def effective(config: Config, group_names: Collection[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every setting of the groups as JSON can carry it: `{name: {key: {"value": …, "source": …}}}`.

    Durations are seconds and sizes bytes. `env` also has `sources`, the table of each variable. Of secrets there are the
    names and where their values come from.
    """
    return {name: _effective_group(config, name) for name in group_names}


def unreachable(config: Config, named: Collection[str]) -> tuple[Mistake, ...]:
    """A warning for each table of a group that no run can come to, but by `enqueue --worker`.

    `named` are the groups that decorators name, and their templates; `default` is always in use.
    """
    document, routes = config.document, config.routes
    if document is None:
        return ()
    used = {*named, *routes.named_groups, DEFAULT_GROUP}
    templates = [name for name in used if is_template(name)]
    return tuple(
        document.mistake(path, f"{label(path)}: no workflow uses this group", did_you_mean(path[-1], used))
        for path in config.tables
        if _names_a_group(path) and path[-1] not in used and not any(may_name(template, path[-1]) for template in templates)
    )


def named_groups(tables: Tables) -> list[str]:
    """`default`, then the groups that any table is about, in the order of the file."""
    return list(dict.fromkeys([DEFAULT_GROUP, *(path[-1] for path in tables if _names_a_group(path))]))


def label(path: TablePath) -> str:
    """A table's path as it stands in the file: `[workflows.media]`."""
    return "[" + ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in path) + "]"


def _precedence(name: str, server: str) -> Iterator[TablePath]:
    """The tables that a group's settings come from; later ones win."""
    yield ("workflows",)
    yield ("workflows", name)
    yield ("servers", server, "workflows")
    yield ("servers", server, "workflows", name)


def _resolved(tables: Tables, name: str, server: str) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, BUILT_IN)
    for path in _precedence(name, server):
        for key, value in tables.get(path, {}).items():
            sources[key] = label(path)
            if key == "env":
                sources.update({f"env.{variable}": label(path) for variable in value})
                value = {**values.get("env", {}), **value}
            values[key] = value
    if values.get("workers", 0) > values.get("max_workers", 1):
        values["max_workers"] = values["workers"]
        sources["max_workers"] = sources["workers"]
    return values, sources


def _effective_group(config: Config, name: str) -> dict[str, dict[str, Any]]:
    settings, sources = config.group(name), config.sources(name)
    shown: dict[str, dict[str, Any]] = {}
    for key in SETTINGS:
        value = getattr(settings, key)
        if isinstance(value, tuple):
            value = list(value)
        elif key == "secrets":
            value = {secret: str(origin) for secret, origin in value.items()}
        shown[key] = {"value": value, "source": sources[key]}
    shown["env"]["sources"] = {variable: sources[f"env.{variable}"] for variable in settings.env}
    return shown


def _names_a_group(path: TablePath) -> bool:
    return len(path) == (2 if path[0] == "workflows" else 4)
