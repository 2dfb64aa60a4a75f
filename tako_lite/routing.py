"""Which group a run belongs to, what becomes of it where nobody serves that group, and who said so.

`Routes` is what tako.toml says, `Plan` what that amounts to for one workflow, `Router` the one place that decides, whoever
asks: a client, a schedule, a trigger, a parent run, a retry. docs/routing.md has the order as a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from tako_lite.errors import NotFound
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, printable
from tako_lite.options import Fallback, WorkflowOptions
from tako_lite.records import Failure, Refusal
from tako_lite.templates import fill, is_template

GroupSource = Literal["enqueue", "rule", "workflow", "namespace", "tenant", "default", "fallback", "moved"]
FallbackSource = Literal["enqueue", "workflow", "rule", "namespace", "tenant", "group", "workflows", "default"]

DEFAULT: Final = "default"
_WILD: Final = re.compile(r"\[[^\]]*\]|[*?]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `[[defaults]]`: what it says about the workflows whose names match. `timeout` is seconds.

    `place` is which one of the tables it is, from 0.
    """

    match: str
    worker: str | None = None
    fallback: Fallback | None = None
    retries: int | None = None
    timeout: float | None = None
    forced: bool = False
    place: int = 0

    @property
    def specificity(self) -> tuple[bool, int]:
        """A name without wildcards beats any pattern, and a pattern one with fewer letters."""
        letters = _WILD.sub("", self.match)
        return letters == self.match, len(letters)


@dataclass(frozen=True, slots=True)
class Namespace:
    """What `[namespaces.NAME]` says."""

    worker: str | None = None
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """What `[tenants.NAME]` says; `env` is what runs of the tenant find in `step.env`."""

    worker: str | None = None
    fallback: Fallback | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a group says about the runs that come to it; `allowed` are tenants, None is everyone."""

    fallback: Fallback | None = None
    fallback_source: FallbackSource = "group"
    allowed: tuple[str, ...] | None = None


class Plan(NamedTuple):
    """What the files say about the runs of one workflow: names of groups in the order in which they count, and a fallback."""

    workers: tuple[tuple[str, GroupSource], ...] = ()
    fallback: tuple[Fallback, FallbackSource] | None = None

    @property
    def home(self) -> str:
        """The group of a run of which nothing else is known: the first that is named without a template."""
        return next((name for name, _ in self.workers if not is_template(name)), DEFAULT)


@dataclass(frozen=True, slots=True)
class Routes:
    """Everything that tako.toml says about routing. `rules` come most specific first; `gates` has each group with a table."""

    rules: tuple[Rule, ...] = ()
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    inherited: Gate = Gate()

    def gate(self, group: str) -> Gate:
        """What a group says; one without a table says what all inherit."""
        return self.gates.get(group, self.inherited)

    @property
    def workers(self) -> frozenset[str]:
        """What the tables name: groups, and templates for them."""
        return frozenset(worker for _, worker in self.tables())

    def tables(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The tables that name a group, by their paths in tako.toml, and which group or template."""
        named: list[tuple[tuple[str | int, ...], str | None]] = [(("defaults", rule.place), rule.worker) for rule in self.rules]
        named += [(("namespaces", name), space.worker) for name, space in self.namespaces.items()]
        named += [(("tenants", name), tenant.worker) for name, tenant in self.tenants.items()]
        return ((path, worker) for path, worker in named if worker is not None)

    def plan(self, workflow: str, namespace: str, options: WorkflowOptions, written: Collection[str]) -> Plan:
        """What the files say about a workflow; `written` are the options that its decorator has."""
        rules = self.matching(workflow)
        above = [self.namespaces[name] for name in upwards(namespace) if name in self.namespaces]
        said: list[tuple[Fallback | None, FallbackSource]] = [
            (options.fallback, "workflow"),
            *((rule.fallback, "rule") for rule in rules),
            *((space.fallback, "namespace") for space in above),
        ]
        workers = tuple((name, source) for name, source, _ in self.named(workflow, namespace, options, written))
        return Plan(workers, next(((word, source) for word, source in said if word is not None), None))

    def named(
        self, workflow: str, namespace: str, options: WorkflowOptions, written: Collection[str]
    ) -> list[tuple[str, GroupSource, tuple[str | int, ...]]]:
        """What the files name as the group of a workflow, the first that counts first, each with its table's path."""
        rules = self.matching(workflow)
        named: list[tuple[str | None, GroupSource, tuple[str | int, ...]]] = [
            *((rule.worker, "rule", ("defaults", rule.place)) for rule in rules if rule.forced),
            (options.worker if "worker" in written else None, "workflow", ()),
            *((rule.worker, "rule", ("defaults", rule.place)) for rule in rules if not rule.forced),
            *(
                (self.namespaces[name].worker, "namespace", ("namespaces", name))
                for name in upwards(namespace)
                if name in self.namespaces
            ),
        ]
        return [(name, source, path) for name, source, path in named if name is not None]

    def matching(self, workflow: str) -> list[Rule]:
        """The rules about a workflow, the most specific first."""
        return [rule for rule in self.rules if fnmatchcase(workflow, rule.match)]

    def options(self, workflow: str, options: WorkflowOptions, written: Collection[str]) -> WorkflowOptions:
        """The options of a workflow with the retries and the timeout that rules give it."""
        rules = self.matching(workflow)
        retries = next((rule.retries for rule in rules if _says(rule, rule.retries, "retries", written)), options.retries)
        timeout = next((rule.timeout for rule in rules if _says(rule, rule.timeout, "timeout", written)), options.timeout)
        return options._replace(retries=retries or 0, timeout=timeout)


def upwards(namespace: str) -> Iterator[str]:
    """A namespace and those that it inherits from, nearest first: `billing.eu`, `billing`."""
    while namespace:
        yield namespace
        namespace = namespace.rpartition(".")[0]


def _says(rule: Rule, value: object, option: str, written: Collection[str]) -> bool:
    return value is not None and (rule.forced or option not in written)


class Route(NamedTuple):
    """Where a run goes. Without a `fallback` it waits; a `refusal` ends it before it starts."""

    group: str
    group_source: GroupSource
    fallback: Fallback | None = None
    fallback_source: FallbackSource | None = None
    refusal: Refusal | None = None


class Wish(NamedTuple):
    """What an enqueue, or what is stored of it, says about routing."""

    worker: str | None = None
    fallback: Fallback | None = None
    tenant: str | None = None


class Router:
    """Decides for each run. `groups` are those that exist, `trouble` says why a group is not available, or None."""

    def __init__(
        self, routes: Routes, groups: Collection[str], trouble: Callable[[str], str | None] = lambda group: None
    ) -> None:
        self.routes = routes
        self.groups = groups
        self._trouble = trouble

    def route(self, plan: Plan, wish: Wish, payload: str, *, due: bool) -> Route:
        """Where a run goes whose payload is this JSON text; one that is not `due` yet is not judged by availability."""
        named = self._named(plan, wish, payload)
        group, source = named
        fallback, fallback_source = self._fallback(plan, wish, group)
        route = Route(group, source, fallback, fallback_source)
        if group not in self.groups:
            known = group if NAME.match(group) else DEFAULT  # what is no name is no key of a row either
            return route._replace(group=known, refusal=Refusal("dead", unknown(group, self.groups)))
        if denied := self._denied(group, wish.tenant):
            return route._replace(refusal=denied)
        if due and (trouble := self._trouble(group)):
            return self._fall_back(route, wish.tenant, trouble)
        return route

    def reads_payload(self, plan: Plan, tenant: str | None) -> bool:
        """Whether the group of a run may depend on its payload."""
        return any(is_template(name) for name, _ in (*plan.workers, *self._of_tenant(tenant)))

    def _named(self, plan: Plan, wish: Wish, payload: str) -> tuple[str, GroupSource]:
        if wish.worker is not None:
            return wish.worker, "enqueue"
        value: object = None
        for name, source in (*plan.workers, *self._of_tenant(wish.tenant)):
            if not is_template(name):
                return name, source
            value = json.loads(payload) if value is None else value
            if filled := fill(name, value):
                return filled, source
        return DEFAULT, "default"

    def _of_tenant(self, tenant: str | None) -> tuple[tuple[str, GroupSource], ...]:
        table = self.routes.tenants.get(tenant) if tenant is not None else None
        return () if table is None or table.worker is None else ((table.worker, "tenant"),)

    def _fallback(self, plan: Plan, wish: Wish, group: str) -> tuple[Fallback | None, FallbackSource | None]:
        if wish.fallback is not None:
            return wish.fallback, "enqueue"
        if plan.fallback is not None:
            return plan.fallback
        table = self.routes.tenants.get(wish.tenant) if wish.tenant is not None else None
        if table is not None and table.fallback is not None:
            return table.fallback, "tenant"
        gate = self.routes.gate(group)
        return (None, None) if gate.fallback is None else (gate.fallback, gate.fallback_source)

    def _denied(self, group: str, tenant: str | None) -> Refusal | None:
        allowed = self.routes.gate(group).allowed
        if tenant is not None and tenant not in self.routes.tenants:
            return Refusal("dead", Failure("TenantDenied", f"no table is about the tenant {tenant!r}", None, "tenant_denied"))
        if allowed is None or tenant in allowed:
            return None
        return Refusal("dead", denied(group, tenant, allowed))

    def _fall_back(self, route: Route, tenant: str | None, trouble: str) -> Route:
        if route.fallback in ("fail", "cancel"):
            state: Literal["dead", "cancelled"] = "dead" if route.fallback == "fail" else "cancelled"
            return route._replace(refusal=Refusal(state, no_worker(trouble)))
        if route.fallback == "ignore" and route.group != DEFAULT:
            return route._replace(group=DEFAULT, group_source="fallback", refusal=self._denied(DEFAULT, tenant))
        return route


def no_worker(trouble: str) -> Failure:
    """Nobody serves the group of a run, and its fallback is not to wait."""
    return Failure("NoWorker", trouble, None, "no_worker")


def denied(group: str, tenant: str | None, allowed: Collection[str]) -> Failure:
    """The tenant of a run, or none, may not use its group."""
    who = f"tenant {tenant} may not use it" if tenant is not None else "the run has no tenant"
    names = ", ".join(sorted(allowed)) or "nobody"
    return Failure("TenantDenied", f"group {group} is for {names} (allowed_tenants); {who}", None, "tenant_denied")


def unknown(group: str, groups: Collection[str]) -> Failure:
    """What was filled in, or stored, names no group."""
    error = unknown_group(group, groups)
    return Failure("UnknownGroup", f"{error.message}; {error.hint}", None, "unknown_group")


def unknown_group(name: str, groups: Collection[str]) -> NotFound:
    """The error for a group that does not exist."""
    hint = did_you_mean(name, groups) or f"groups: {', '.join(sorted(groups))}"
    return NotFound(f"there is no worker group {printable(name[:60])!r}", hint=hint, type="unknown_group")


def unknown_tenant(name: str, tenants: Collection[str]) -> NotFound:
    """The error for a tenant without a table."""
    known = f"tenants: {', '.join(sorted(tenants))}" if tenants else f"write [tenants.{printable(name[:60])}] into tako.toml"
    hint = did_you_mean(name, tenants) or known
    return NotFound(f"there is no tenant {printable(name[:60])!r}", hint=hint, type="unknown_tenant")
