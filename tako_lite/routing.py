"""Chooses the group of a run, and what happens while that group is unavailable. Both are stored with their source.

`Routes` holds the routing tables of tako.toml. `Plan` is what they say about one workflow. `Router` decides for each new run
(of a client, a schedule, a trigger or a parent run) and for each retry. docs/routing.md lists the sources in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import BadInput, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, printable
from tako_lite.options import FALLBACKS, Fallback, WorkflowOptions
from tako_lite.records import Failure, Refusal
from tako_lite.templates import fill, is_template

GroupSource = Literal["enqueue", "rule", "workflow", "namespace", "tenant", "default", "fallback", "moved"]
FallbackSource = Literal["enqueue", "workflow", "rule", "namespace", "tenant", "group", "workflows", "default"]

DEFAULT: Final = "default"
_WILD: Final = re.compile(r"\[[^\]]*\]|[*?]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One table of `[[defaults]]`: settings for the workflows whose names match. `timeout` is in seconds.

    `place` is the index of the table, from 0.
    """

    match: str
    group: str | None = None
    fallback: Fallback | None = None
    retries: int | None = None
    timeout: float | None = None
    forced: bool = False
    place: int = 0

    @property
    def specificity(self) -> tuple[bool, int]:
        """Sort key: a name without wildcards outranks any pattern, and among patterns the one with more letters wins."""
        letters = _WILD.sub("", self.match)
        return letters == self.match, len(letters)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A table `[namespaces.NAME]`."""

    group: str | None = None
    fallback: Fallback | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """A table `[tenants.NAME]`. Runs of the tenant have its `env` in `step.env`."""

    group: str | None = None
    fallback: Fallback | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """The routing settings of a group: its fallback, and the tenants that may use it (None allows all runs)."""

    fallback: Fallback | None = None
    fallback_source: FallbackSource = "group"
    allowed: tuple[str, ...] | None = None


class Plan(NamedTuple):
    """The routing of one workflow: its possible groups, of which the first that applies is used, and its fallback."""

    groups: tuple[tuple[str, GroupSource], ...] = ()
    fallback: tuple[Fallback, FallbackSource] | None = None

    @property
    def default_group(self) -> str:
        """The group of a run without a payload or options: the first name that is not a template."""
        return next((name for name, _ in self.groups if not is_template(name)), DEFAULT)


@dataclass(frozen=True, slots=True)
class Routes:
    """The routing tables of tako.toml. `rules` start with the most specific; `policies` has the groups that have a table."""

    rules: tuple[Rule, ...] = ()
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    policies: Mapping[str, GroupPolicy] = field(default_factory=dict)
    inherited: GroupPolicy = GroupPolicy()

    def policy_of(self, group: str) -> GroupPolicy:
        """The policy of a group. A group without a table inherits that of `[workflows]`."""
        return self.policies.get(group, self.inherited)

    @property
    def named_groups(self) -> frozenset[str]:
        """The groups, and the templates for groups, that the tables name."""
        return frozenset(group for _, group in self.tables())

    def tables(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Each table that names a group, by its path in tako.toml, with that group or template."""
        named: list[tuple[tuple[str | int, ...], str | None]] = [(("defaults", rule.place), rule.group) for rule in self.rules]
        named += [(("namespaces", name), space.group) for name, space in self.namespaces.items()]
        named += [(("tenants", name), tenant.group) for name, tenant in self.tenants.items()]
        return ((path, group) for path, group in named if group is not None)

    def plan(self, workflow: str, namespace: str, options: WorkflowOptions, written: Collection[str]) -> Plan:
        """The plan of a workflow; `written` are the options that its decorator sets."""
        rules = self.matching(workflow)
        above = [self.namespaces[name] for name in upwards(namespace) if name in self.namespaces]
        fallbacks: list[tuple[Fallback | None, FallbackSource]] = [
            (options.fallback, "workflow"),
            *((rule.fallback, "rule") for rule in rules),
            *((space.fallback, "namespace") for space in above),
        ]
        groups = tuple((name, source) for name, source, _ in self.candidates(workflow, namespace, options, written))
        return Plan(groups, next(((word, source) for word, source in fallbacks if word is not None), None))

    def candidates(
        self, workflow: str, namespace: str, options: WorkflowOptions, written: Collection[str]
    ) -> list[tuple[str, GroupSource, tuple[str | int, ...]]]:
        """The groups that the files name for a workflow, in order of precedence, each with the path of its table."""
        rules = self.matching(workflow)
        named: list[tuple[str | None, GroupSource, tuple[str | int, ...]]] = [
            *((rule.group, "rule", ("defaults", rule.place)) for rule in rules if rule.forced),
            (options.worker if "worker" in written else None, "workflow", ()),
            *((rule.group, "rule", ("defaults", rule.place)) for rule in rules if not rule.forced),
            *(
                (self.namespaces[name].group, "namespace", ("namespaces", name))
                for name in upwards(namespace)
                if name in self.namespaces
            ),
        ]
        return [(name, source, path) for name, source, path in named if name is not None]

    def matching(self, workflow: str) -> list[Rule]:
        """The rules that match a workflow, the most specific first."""
        return [rule for rule in self.rules if fnmatchcase(workflow, rule.match)]

    def options(self, workflow: str, options: WorkflowOptions, written: Collection[str]) -> WorkflowOptions:
        """The options of a workflow, with retries and timeout overridden by the rules that apply."""
        rules = self.matching(workflow)
        retries = next((rule.retries for rule in rules if _applies(rule, rule.retries, "retries", written)), options.retries)
        timeout = next((rule.timeout for rule in rules if _applies(rule, rule.timeout, "timeout", written)), options.timeout)
        return options._replace(retries=retries or 0, timeout=timeout)


def matches_any(name: str, patterns: Collection[str]) -> bool:
    """Whether a name matches one of these patterns, in which `*` stands for any characters."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def upwards(namespace: str) -> Iterator[str]:
    """A namespace and its parents, innermost first: `billing.eu`, `billing`."""
    while namespace:
        yield namespace
        namespace = namespace.rpartition(".")[0]


def _applies(rule: Rule, value: object, option: str, written: Collection[str]) -> bool:
    return value is not None and (rule.forced or option not in written)


class Route(NamedTuple):
    """The group of a run. Without a `fallback` the run waits for its group; a `refusal` ends it before it starts."""

    group: str
    group_source: GroupSource
    fallback: Fallback | None = None
    fallback_source: FallbackSource | None = None
    refusal: Refusal | None = None


class Router:
    """Chooses the route of each run. `groups` are those that exist; `trouble` returns why a group is unavailable, or None."""

    def __init__(
        self, routes: Routes, groups: Collection[str], trouble: Callable[[str], str | None] = lambda group: None
    ) -> None:
        self.routes = routes
        self.groups = groups
        self._trouble = trouble

    def check(self, request: EnqueueRequest) -> None:
        """Raise NotFound if a request names a group or a tenant that does not exist."""
        if request.worker is not None:
            check_group(request.worker, self.groups)
        if request.tenant is not None and request.tenant not in self.routes.tenants:
            raise unknown_tenant(request.tenant, self.routes.tenants)

    def route(self, plan: Plan, request: EnqueueRequest, payload: str, *, due: bool) -> Route:
        """The route of a run; `payload` is JSON text. Whether the group is available matters only for a run that is `due`.

        Raises BadInput for an unknown fallback.
        """
        group, source = self._group(plan, request, payload)
        fallback, fallback_source = self._fallback(plan, request, group)
        route = Route(group, source, fallback, fallback_source)
        if group not in self.groups:
            known = group if NAME.match(group) else DEFAULT  # an invalid name must not be stored
            return route._replace(group=known, refusal=Refusal("dead", unknown(group, self.groups)))
        if denied := self._denied(group, request.tenant):
            return route._replace(refusal=denied)
        if due and (trouble := self._trouble(group)):
            return self._fall_back(route, request.tenant, trouble)
        return route

    def reads_payload(self, plan: Plan, tenant: str | None) -> bool:
        """Whether the group of a run may depend on its payload."""
        return any(is_template(name) for name, _ in (*plan.groups, *self._of_tenant(tenant)))

    def _group(self, plan: Plan, request: EnqueueRequest, payload: str) -> tuple[str, GroupSource]:
        if request.worker is not None:
            return request.worker, "enqueue"
        value: object = None
        for name, source in (*plan.groups, *self._of_tenant(request.tenant)):
            if not is_template(name):
                return name, source
            value = json.loads(payload) if value is None else value
            if filled := fill(name, value):
                return filled, source
        return DEFAULT, "default"

    def _of_tenant(self, tenant: str | None) -> tuple[tuple[str, GroupSource], ...]:
        table = self.routes.tenants.get(tenant) if tenant is not None else None
        return () if table is None or table.group is None else ((table.group, "tenant"),)

    def _fallback(self, plan: Plan, request: EnqueueRequest, group: str) -> tuple[Fallback | None, FallbackSource | None]:
        if request.fallback is not None:
            return _known_fallback(request.fallback), "enqueue"
        if plan.fallback is not None:
            return plan.fallback
        table = self.routes.tenants.get(request.tenant) if request.tenant is not None else None
        if table is not None and table.fallback is not None:
            return table.fallback, "tenant"
        policy = self.routes.policy_of(group)
        return (None, None) if policy.fallback is None else (policy.fallback, policy.fallback_source)

    def _denied(self, group: str, tenant: str | None) -> Refusal | None:
        allowed = self.routes.policy_of(group).allowed
        if tenant is not None and tenant not in self.routes.tenants:
            return Refusal(
                "dead", Failure("TenantDenied", f"there is no table for the tenant {tenant!r}", None, "tenant_denied")
            )
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


def _known_fallback(word: str) -> Fallback:
    for known in FALLBACKS:
        if word == known:
            return known
    hint = did_you_mean(word, FALLBACKS) or f"fallbacks: {', '.join(FALLBACKS)}"
    raise BadInput(f"there is no fallback {printable(word[:60])!r}", hint=hint)


def no_worker(trouble: str) -> Failure:
    """The failure of a run whose group is unavailable and whose fallback is `fail` or `cancel`."""
    return Failure("NoWorker", trouble, None, "no_worker")


def denied(group: str, tenant: str | None, allowed: Collection[str]) -> Failure:
    """The failure of a run that its group does not accept, because of its tenant or because it has none."""
    who = f"tenant {tenant} may not use it" if tenant is not None else "the run has no tenant"
    names = ", ".join(sorted(allowed)) or "no tenant"
    return Failure("TenantDenied", f"group {group} is for {names} (allowed_tenants); {who}", None, "tenant_denied")


def unknown(group: str, groups: Collection[str]) -> Failure:
    """The failure of a run whose template or stored group is the name of a group that does not exist."""
    error = unknown_group(group, groups)
    return Failure("UnknownGroup", f"{error.message}; {error.hint}", None, "unknown_group")


def check_group(name: str, groups: Collection[str]) -> None:
    """Raise NotFound for a group that does not exist."""
    if name not in groups:
        raise unknown_group(name, groups)


def unknown_group(name: str, groups: Collection[str]) -> NotFound:
    """The error for a group that does not exist."""
    hint = did_you_mean(name, groups) or f"groups: {', '.join(sorted(groups))}"
    return NotFound(f"there is no worker group {printable(name[:60])!r}", hint=hint, type="unknown_group")


def unknown_tenant(name: str, tenants: Collection[str]) -> NotFound:
    """The error for a tenant that has no table."""
    known = f"tenants: {', '.join(sorted(tenants))}" if tenants else f"write [tenants.{printable(name[:60])}] into tako.toml"
    hint = did_you_mean(name, tenants) or known
    return NotFound(f"there is no tenant {printable(name[:60])!r}", hint=hint, type="unknown_tenant")
