"""Reads the routing tables `[[defaults]]`, `[namespaces]` and `[tenants]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from tako_lite.config import values
from tako_lite.config.collector import Collector
from tako_lite.config.settings import DEFAULT_GROUP, Config, GroupSettings, Tables, group_settings, said_for_all
from tako_lite.config.values import Reader, shown_name
from tako_lite.errors import BadInput, Mistake
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, NAME_HINT
from tako_lite.options import MAX_RETRIES
from tako_lite.routing import FallbackSource, GroupPolicy, Namespace, Routes, Rule, Tenant
from tako_lite.templates import check_template, is_template

if TYPE_CHECKING:
    from tako_lite.config.positions import KeyPath

TABLES: Final = ("defaults", "namespaces", "tenants")
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}")
_PATTERN_HINT: Final = "a name in which * matches any characters, ? one character, and [ab] one of these"


def worker(value: Any) -> str:
    """Accepts the name of a group, or a template for such a name."""
    named = values.text(value)
    if is_template(named):
        check_template(named)
        return named
    return values.name(value)


def _pattern(value: Any) -> str:
    if not _PATTERN.fullmatch(values.text(value)):
        raise BadInput("is not a pattern for workflow names", hint=_PATTERN_HINT)
    return str(value)


_BOTH: Final[Mapping[str, Reader]] = {"worker": worker, "fallback": values.fallback}
_RULE: Final[Mapping[str, Reader]] = {
    "match": _pattern,
    **_BOTH,
    "retries": values.whole(0, MAX_RETRIES),
    "timeout": values.span(0.001),
    "forced": values.yes_or_no,
}


def read_routes(collector: Collector, project: dict[str, Any], tables: Tables, server: str, groups: Collection[str]) -> Routes:
    """Read the routing tables of a project. The collector receives the mistakes."""
    spaces = _named(collector, project, "namespaces", _BOTH)
    own = _named(collector, project, "tenants", _BOTH, {"env": values.variable})
    routes = Routes(
        rules=_rules(collector, project.get("defaults", [])),
        namespaces={name: Namespace(**_fields(said)) for name, said in spaces.items()},
        tenants={name: Tenant(**_fields(said)) for name, said in own.items()},
        policies={name: _policy(tables, name, server) for name in groups},
        inherited=_policy(tables, "", server),
    )
    _check_allowed(collector, tables, routes.tenants)
    return routes


def _rules(collector: Collector, value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        collector.wrong(("defaults",), "`defaults`: must be an array of tables", "write [[defaults]] above each rule")
        return ()
    rules = []
    for index, entry in enumerate(value):
        path = ("defaults", index)
        read = _read_table(collector, path, entry, _RULE)
        if "match" not in entry:
            collector.wrong(path, "a rule needs a `match`", 'such as match = "report-*"')
        elif not set(read) - {"match", "forced"} and len(read) == len(entry):
            collector.wrong((*path, "match"), "this rule sets nothing", "add worker, fallback, retries or timeout")
        elif "match" in read:
            rules.append(Rule(**_fields(read), place=index))
    return tuple(sorted(rules, key=lambda rule: rule.specificity, reverse=True))


def _named(
    collector: Collector,
    project: dict[str, Any],
    key: str,
    readers: Mapping[str, Reader],
    entries: Mapping[str, Callable[[str], Reader]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Read the tables below `[key]`, such as `[tenants.acme]`, by their names."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in collector.table((key,), project.get(key, {})).items():
        path = (key, name)
        if not NAME.fullmatch(name):
            collector.wrong(path, f"{shown_name(name)} is not a name", NAME_HINT, at_key=True)
        elif key == "namespaces" and isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            inner = next(name for name, inner in value.items() if isinstance(inner, dict))
            hint = f'a name with a dot is written in quotes: [namespaces."{name}.{inner}"]'
            collector.wrong((*path, inner), f"unknown key {shown_name(inner)} in [namespaces.{name}]", hint, at_key=True)
        else:
            found[name] = _read_table(collector, path, collector.table(path, value), readers, entries or {})
    return found


def _read_table(
    collector: Collector,
    path: KeyPath,
    table: dict[str, Any],
    readers: Mapping[str, Reader],
    entries: Mapping[str, Callable[[str], Reader]] | None = None,
) -> dict[str, Any]:
    said = {}
    for key, value in table.items():
        if entries and key in entries:
            said[key] = collector.entries((*path, key), value, entries[key])
        elif key not in readers:
            known = ", ".join([*readers, *(entries or {})])
            hint = did_you_mean(key, readers) or f"known keys: {known}"
            collector.wrong((*path, key), f"unknown key {shown_name(key)}", hint, at_key=True)
        elif (read := collector.value(path, table, key, readers[key])) is not None:
            said[key] = read
    return said


def _fields(said: dict[str, Any]) -> dict[str, Any]:
    """The fields of a table's record. The key `worker` of tako.toml is the field `group`."""
    return {"group" if key == "worker" else key: value for key, value in said.items()}


def _policy(tables: Tables, name: str, server: str) -> GroupPolicy:
    settings: GroupSettings = group_settings(tables, name, server)
    source: FallbackSource = "workflows" if said_for_all(tables, name, server, "fallback") else "group"
    return GroupPolicy(settings.fallback, source, settings.allowed_tenants)


def _check_allowed(collector: Collector, tables: Tables, known: Collection[str]) -> None:
    for path, said in tables.items():
        for index, name in enumerate(said.get("allowed_tenants", ())):
            if name not in known:
                hint = did_you_mean(name, known) or f"write [tenants.{name}]"
                collector.wrong((*path, "allowed_tenants", index), f"there is no table for the tenant {shown_name(name)}", hint)


def misrouted(config: Config, groups: Collection[str]) -> tuple[Mistake, ...]:
    """A mistake for each table that names a group that neither a workflow nor a table defines."""
    if config.document is None:
        return ()
    known = {DEFAULT_GROUP, *config.groups, *groups}
    found = []
    for path, name in config.routes.tables():
        if not is_template(name) and name not in known:
            hint = did_you_mean(name, known) or f"write [workflows.{name}], or set worker to one of: {', '.join(sorted(known))}"
            found.append(config.document.mistake((*path, "worker"), f"there is no worker group {shown_name(name)}", hint))
    return tuple(sorted(found, key=lambda mistake: mistake.line))
