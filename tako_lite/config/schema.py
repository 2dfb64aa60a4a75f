"""The JSON Schema of tako.toml (draft-07), by which editors complete and check the file; `check` finds more.

It has what can be said of one value by itself. What two places say of each other, such as a tenant without a table, only
`check` knows. A test compares the keys with those that the reader knows, and the verdict on sixty files with that of `check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

from tako_lite.config.settings import GroupSettings
from tako_lite.config.values import DURABILITIES, RLIMITS
from tako_lite.config.web_settings import AUTHS, EVERYTHING, PAYLOADS, RIGHTS
from tako_lite.options import FALLBACKS, MAX_RETRIES
from tako_lite.units import duration_text

Schema = dict[str, Any]

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
FILE: Final = "tako.schema.json"
"""The name of the file that `init` writes beside tako.toml."""

_NUMBER: Final = r"[0-9]+(\.[0-9]+)?"
_UNITS: Final = "".join(rf"({_NUMBER}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms"))
_DURATION: Final[Schema] = {"type": "string", "pattern": rf"^\s*(?=[0-9]){_UNITS}\s*$"}
_SIZE: Final[Schema] = {"type": "string", "pattern": rf"^\s*{_NUMBER} ?([KMGTkmgt][Ii]?)?[Bb]\s*$"}
_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_NAME: Final[Schema] = {"type": "string", "pattern": _NAME_PATTERN}
_TEXT: Final[Schema] = {"type": "string", "pattern": r"\S"}
_VARIABLE_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_WORKER: Final[Schema] = {"type": "string", "pattern": r"^([A-Za-z0-9][A-Za-z0-9._-]*|.*\{.+\}.*)$"}
_SECRET: Final[Schema] = {"type": "string", "pattern": r"^(env|file):.+$"}
_FUNCTION: Final[Schema] = {"type": "string", "pattern": r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"}
_LISTEN: Final[Schema] = {"type": "string", "pattern": r"^(unix:.+|.+:[0-9]{1,5})$"}
_YES_OR_NO: Final[Schema] = {"type": "boolean"}
_ENV: Final[Schema] = {
    "type": "object",
    "patternProperties": {_VARIABLE_PATTERN: {"type": "string"}},
    "additionalProperties": False,
}
_AGE: Final[Schema] = {"oneOf": [_DURATION, {"type": "string", "enum": ["forever"]}]}


def _whole(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _array(element: Schema) -> Schema:
    return {"type": "array", "items": element}


_COUNTS: Final = ("nofile", "nproc")
_LIMITS: Final = {
    name: _whole(0, 1 << 60) if name in _COUNTS else {"oneOf": [_whole(0, 1 << 60), _DURATION if name == "cpu" else _SIZE]}
    for name in RLIMITS
}

GROUP: Final[Mapping[str, tuple[Schema, str]]] = {
    "workers": (_whole(0, 1000), "Processes that are always running. With 0, an idle group has no processes."),
    "max_workers": (_whole(1, 1000), "The group grows up to this number of processes while work waits."),
    "concurrency": (_whole(1, 10_000), "Runs at a time in one worker."),
    "idle_timeout": (_DURATION, "A worker beyond `workers` exits after being idle for this long."),
    "max_runs": (_whole(1, 1_000_000_000), "A worker is replaced after this many runs."),
    "max_memory": (_SIZE, "A worker that has grown beyond this size is replaced after the run that caused it."),
    "drain_timeout": (_DURATION, "How long a stopping worker may take to reach the next step. After that it is killed."),
    "startup_timeout": (_DURATION, "How long a worker may take to start, including imports."),
    "heartbeat_timeout": (_DURATION, "A busy worker that is silent for this long and uses no processor time is killed."),
    "max_crashes": (_whole(1, 1_000_000), "A run that crashes its worker this many times ends `dead`."),
    "env": (_ENV, "Environment variables of the workers."),
    "env_pass": (
        _array(_TEXT),
        'Variables that are passed on from the daemon\'s environment: names, and patterns such as "AWS_*".',
    ),
    "env_file": (_TEXT, 'A file with variables for the workers, such as ".env".'),
    "secrets": (_array(_NAME), "The secrets of [secrets] that handlers of the group may read."),
    "nice": (_whole(-20, 19), "Scheduling priority of the workers; a higher number yields to other processes."),
    "limits": (
        {"type": "object", "properties": _LIMITS, "additionalProperties": False},
        'Resource limits of each worker: counts, sizes such as "2GiB", and for `cpu` seconds or a duration.',
    ),
    "python": (_TEXT, "The interpreter of the workers: a command in PATH, or a path relative to this file."),
    "setup": (_FUNCTION, 'A function that each worker calls before it imports the modules: "package.module:function".'),
    "teardown": (_FUNCTION, 'A function that each worker calls when it ends in order: "package.module:function".'),
    "description": (_TEXT, "A note for people."),
    "fallback": (_one_of(*FALLBACKS), "What happens to runs while the group is paused or cannot start."),
    "wait_timeout": (_DURATION, "A run that waits this long for a group that is not available ends `dead`."),
    "allowed_tenants": (_array(_NAME), "The tenants whose runs the group takes; without it, everyone's."),
}
QUEUE: Final[Mapping[str, tuple[Schema, str]]] = {
    "url": (
        {"type": "string", "pattern": "^(sqlite:///|postgres(ql)?://|env:).+$"},
        'Where the queue is: "sqlite:///" and a path (four slashes begin an absolute one), or "postgresql://user@host/database".',
    ),
    "durability": (
        _one_of(*DURABILITIES),
        '"disk": acknowledged work survives a power failure. "process": faster, and survives every crash of a program.',
    ),
    "keep": (
        {
            "type": "object",
            "properties": dict.fromkeys(("succeeded", "cancelled", "dead"), _AGE),
            "additionalProperties": False,
        },
        'How long ended runs are kept, by their state: a duration, or "forever".',
    ),
    "schema": ({"type": "string", "pattern": "^[a-z_][a-z0-9_]*$"}, "PostgreSQL: the schema of the queue's tables."),
    "password": (_SECRET, 'PostgreSQL: where the password is, "env:NAME" or "file:PATH".'),
    "listen_url": (_TEXT, "PostgreSQL: the URL of the server itself, if `url` leads to a pooler."),
    "lease": (_DURATION, "PostgreSQL: how long the runs of a server that is gone stay its own."),
}
MONITOR: Final[Mapping[str, tuple[Schema, str]]] = {
    "listen": (_LISTEN, 'Where the daemon answers health checks and scrapes: "HOST:PORT" or "unix:PATH".'),
    "token": (_SECRET, 'Where the token is that every request must carry: "env:NAME" or "file:PATH".'),
    "hosts": (_array(_TEXT), "Names under which the daemon may be asked, besides IP addresses and its own name."),
    "tenants": (_YES_OR_NO, "Whether attempts are also counted by tenant."),
}
LOGS: Final[Mapping[str, tuple[Schema, str]]] = {
    "stdout": (_one_of("json", "none"), '"json" also prints each line of the workers to the daemon\'s stdout.'),
    "max_age": (_DURATION, "Log files whose last line is older are deleted."),
}
_RIGHTS: Final = _array(_one_of(EVERYTHING, *RIGHTS))
WEB: Final[Mapping[str, tuple[Schema, str]]] = {
    "listen": (_LISTEN, 'The address of the dashboard: "HOST:PORT" or "unix:PATH".'),
    "autostart": (_YES_OR_NO, "The daemon listens at `listen` and starts the dashboard at the first connection."),
    "idle_timeout": (_DURATION, "A dashboard that the daemon started ends after so long without a request."),
    "base_path": ({"type": "string", "pattern": r"^(/?|(/[A-Za-z0-9._~-]+)+)$"}, "The path below which it is served."),
    "hosts": (_array({"type": "string", "pattern": r"^\*?[A-Za-z0-9.-]{1,253}$"}), "Names under which it may be reached."),
    "auth": (_one_of(*AUTHS), "How visitors are identified."),
    "password": (_SECRET, 'For "basic": where the password is, "env:NAME" or "file:PATH".'),
    "proxy_header": (
        {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
        'For "proxy": the header with the visitor\'s name.',
    ),
    "trusted_proxies": (_array(_TEXT), 'For "proxy": IP addresses, networks, or "unix".'),
    "read_only": (_YES_OR_NO, "Allow no actions: the dashboard only shows."),
    "may": (_RIGHTS, "What visitors may do."),
    "users": (
        {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"may": _RIGHTS}, "additionalProperties": False},
        },
        "Rights of single visitors: [web.users.NAME] with `may`.",
    ),
    "payloads": (_one_of(*PAYLOADS), '"hide" shows only the keys and kinds of payloads, results and values of steps.'),
    "refresh": (_DURATION, "How often an open page asks for changes, at most."),
}
_BOTH: Final[Mapping[str, tuple[Schema, str]]] = {
    "worker": (_WORKER, 'The group: a name, or a template such as "{tier}" over fields of the payload.'),
    "fallback": (_one_of(*FALLBACKS), "What happens to runs while the group is paused or cannot start."),
}
RULE: Final[Mapping[str, tuple[Schema, str]]] = {
    "match": (
        {"type": "string", "pattern": r"^[A-Za-z0-9._*?\[\]!-]{1,128}$"},
        "Names of workflows; * matches any characters, ? one, [ab] one of these.",
    ),
    **_BOTH,
    "retries": (_whole(0, MAX_RETRIES), "How often a run is attempted again."),
    "timeout": (_DURATION, "How long one attempt may execute."),
    "forced": (_YES_OR_NO, "Whether the rule wins over decorators."),
}
TENANT: Final = {**_BOTH, "env": (_ENV, "Environment variables of the runs of this tenant.")}


def schema() -> Schema:
    """The schema of tako.toml."""
    group = _table(GROUP, _group_defaults())
    workflows = _groups({})
    groups = {**_array(_NAME), "description": "The groups that this server serves; without it, all."}
    top: dict[str, Schema] = {
        "name": {**_NAME, "description": "The name of the project; else that of its folder."},
        "state_dir": {
            **_TEXT,
            "description": "The folder of the socket, the locks, the logs and the queue.",
            "default": ".tako",
        },
        "queue": _about(_table(QUEUE, {"url": "sqlite:///.tako/queue.db", "durability": "disk"}), "The queue."),
        "secrets": _about(_map(_SECRET), 'Names of secrets, and where their values are: "env:NAME" or "file:PATH".'),
        "workflows": _about(
            _groups({"path": {**_TEXT, "description": "The folder of the workflow files.", "default": "workflows"}}),
            "Settings that every group inherits; [workflows.NAME] is the group NAME.",
        ),
        "servers": _about(
            _map({"type": "object", "properties": {"groups": groups, "workflows": workflows}, "additionalProperties": False}),
            "Settings that hold only on one server: [servers.NAME.workflows], [servers.NAME.workflows.GROUP].",
        ),
        "monitor": _about(_table(MONITOR), "Health checks and metrics."),
        "logs": _about(_table(LOGS, {"stdout": "none"}), "The output of workers."),
        "web": _about(_table(WEB, {"auth": "token", "payloads": "show", "refresh": "1s"}), "The dashboard."),
        "defaults": _about(_array({**_table(RULE), "required": ["match"]}), "Rules that choose the group of a workflow."),
        "namespaces": _about(_map(_table(_BOTH)), 'Groups of folders: [namespaces."billing.eu"].'),
        "tenants": _about(_map(_table(TENANT)), "The tenants: [tenants.NAME]."),
    }
    return {
        "$schema": DRAFT,
        "title": "tako.toml",
        "description": "The project file of tako-lite.",
        "x-taplo-info": {"patterns": [r"^(.*(/|\\)tako\.toml|tako\.toml)$"]},
        "type": "object",
        "properties": top,
        "additionalProperties": False,
        "definitions": {"group": group},
    }


def _about(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _table(keys: Mapping[str, tuple[Schema, str]], defaults: Mapping[str, Any] | None = None) -> Schema:
    """A table with these keys and no others."""
    known = defaults or {}
    properties = {
        key: {**schema, "description": text, **({"default": known[key]} if key in known else {})}
        for key, (schema, text) in keys.items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _map(value: Schema) -> Schema:
    """A table of entries with names of the user's choice."""
    return {"type": "object", "patternProperties": {_NAME_PATTERN: value}, "additionalProperties": False}


def _groups(more: Mapping[str, Schema]) -> Schema:
    """A table that has settings, and tables of groups under any other name."""
    own = _table(GROUP, _group_defaults())
    names = {"pattern": _NAME_PATTERN}
    group = {"$ref": "#/definitions/group"}
    return {**own, "properties": {**more, **own["properties"]}, "additionalProperties": group, "propertyNames": names}


def _group_defaults() -> dict[str, Any]:
    """The defaults of group settings as they are written in tako.toml."""
    found: dict[str, Any] = {"fallback": "wait"}
    for setting in fields(GroupSettings):
        value: Any = setting.default
        if value is MISSING or value is None or setting.name not in GROUP:
            continue
        is_duration = GROUP[setting.name][0] is _DURATION
        found[setting.name] = duration_text(value) if is_duration else list(value) if isinstance(value, tuple) else value
    return found
