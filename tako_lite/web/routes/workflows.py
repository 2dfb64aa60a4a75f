"""The workflows, one of them, and the form that enqueues a run of it."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from itertools import zip_longest
from typing import Final, NamedTuple

from tako_lite.catalog import WorkflowSpec
from tako_lite.catalog.payload_schema import Schema, payload_schema
from tako_lite.errors import BadInput, CatalogError
from tako_lite.histogram import EXECUTION_BOUNDS, quantile
from tako_lite.records import Run, new_id
from tako_lite.store import reading
from tako_lite.store.base import MinuteTotals, RunFilter
from tako_lite.store.transitions import minutes
from tako_lite.web.actions import Form
from tako_lite.web.charts import charts
from tako_lite.web.page import Page, Shown, Visit
from tako_lite.web.privacy import conceal
from tako_lite.web.schema_form import form_fields, read_payload
from tako_lite.web.site import Site

DAY: Final = 24 * 60
"""Minutes."""
RECENT: Final = 10
LONGEST_SOURCE: Final = 200
"""Lines of the source of a workflow that are shown."""


class Ended(NamedTuple):
    """How the runs of a workflow ended in the last 24 hours, and counts of how long they executed, by bucket."""

    succeeded: int = 0
    dead: int = 0
    executed: tuple[int, ...] = ()

    def percentile(self, part: float) -> float | None:
        """How long a part of the runs executed at most, in seconds; None without runs."""
        found = quantile(EXECUTION_BOUNDS, self.executed, part)
        return None if found is None else found / 1000


def workflows(visit: Visit) -> Shown:
    """The workflows of the project; the twin of `workflows`."""
    return Shown("workflows.html", "Workflows", visit.ask("workflows"), {"ended": _ended(visit)})


def _ended(visit: Visit) -> dict[str, Ended]:
    now = visit.now // 60_000
    found: dict[str, Ended] = defaultdict(Ended)
    since = partial(minutes.list_between, since=now - DAY, until=now + 1)
    totals: list[MinuteTotals] = visit.read(since, [])
    for one in totals:
        before = found[one.workflow]
        executed = tuple(map(sum, zip_longest(before.executed, one.executed, fillvalue=0)))
        found[one.workflow] = Ended(before.succeeded + one.succeeded, before.dead + one.dead, executed)
    return found


def workflow(visit: Visit) -> Shown:
    """One workflow; its document is its line of `workflows`, with the schema of its payload."""
    spec, schema = _spec(visit.site, visit.path["name"])
    line = next((one for one in visit.ask("workflows")["workflows"] if one["name"] == spec.name), {"name": spec.name})
    recent: list[Run] = visit.read(partial(reading.list_runs, chosen=RunFilter(workflow=spec.name), limit=RECENT), [])
    view = {
        "spec": spec,
        "schema": schema,
        "charts": charts(visit, workflow=spec.name),
        "recent": [conceal(visit, run.as_json()) for run in recent],
        "ended": _ended(visit).get(spec.name, Ended()),
        "source": _source(spec) if visit.user.can("see_source") else None,
    }
    return Shown("workflow.html", spec.name, {**line, "payload_schema": schema}, view)


def _source(spec: WorkflowSpec) -> str | None:
    try:
        lines = spec.file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return None
    begin = spec.line - 1
    while begin > 0 and lines[begin - 1].strip() and not lines[begin - 1].startswith(("def ", "class ", "async ")):
        begin -= 1
    end = spec.line
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t)#"):
        end += 1
    return "\n".join(lines[begin : min(end, begin + LONGEST_SOURCE)]).rstrip()


def enqueue(visit: Visit) -> Shown:
    """The form for a run of a workflow, filled from an earlier run (`again`) or from a payload in the address."""
    spec, schema = _spec(visit.site, visit.path["name"])
    value, options = _filled(visit)
    as_json = schema is None or visit.query.get("mode") == "json" or not _fits(schema, value)
    view = {
        "spec": spec,
        "schema": schema,
        "fields": () if schema is None else form_fields(schema, value),
        "as_json": as_json,
        "text": "" if value is None else json.dumps(value, ensure_ascii=False, indent=2),
        "options": options,
        "request": new_id(),
        "groups": sorted(visit.site.project.catalog().groups | set(visit.site.config.groups)),
        "tenants": sorted(visit.site.config.routes.tenants),
        "again": visit.query.get("again"),
    }
    return Shown("enqueue.html", f"Enqueue {spec.name}", {"name": spec.name, "payload_schema": schema}, view)


def _filled(visit: Visit) -> tuple[object, dict[str, object]]:
    """What the form contains at first: the payload and the options of an earlier run, or what the address says."""
    if (again := visit.query.get("again")) and visit.user.can("see_payloads"):
        found: Run | None = visit.read(partial(reading.get_run, id=again), None)
        if found is not None:
            run = conceal(visit, found.as_json())
            return run["payload"], {"tenant": run["tenant"], "priority": run["priority"] or None}
    text = visit.query.get("payload")
    try:
        return (None if text is None else json.loads(text)), {}
    except ValueError:
        return None, {}


def _fits(schema: Schema, value: object) -> bool:
    """Whether a form can hold a value: an object with the fields of the schema, or nothing yet."""
    if value is None or schema.get("type") != "object":
        return True
    return isinstance(value, dict) and set(value) <= set(schema.get("properties", value))


def _spec(site: Site, name: str) -> tuple[WorkflowSpec, Schema | None]:
    """A workflow, and the schema of its payload if its source shows one. Raises NotFound, CatalogError."""
    spec = site.project.catalog().get(name)
    try:
        return spec, payload_schema(spec.file, spec.function, spec.line)
    except (OSError, SyntaxError, ValueError):
        return spec, None


def payload_of(site: Site, form: Form) -> object:
    """The payload that a form describes. Raises BadInput, and NotFound for an unknown workflow."""
    if form.get("mode") != "form":
        return form.json("payload")
    try:
        _, schema = _spec(site, form.text("target"))
    except CatalogError as error:
        raise BadInput("the workflow files have mistakes, so the form cannot be read", hint=error.hint) from None
    return read_payload(schema, form)


PAGES: Final = (
    Page("/workflows", workflows, clock=60),
    Page("/workflows/{name}", workflow, clock=60),
    Page("/workflows/{name}/enqueue", enqueue, watches="nothing", right="enqueue"),
)
