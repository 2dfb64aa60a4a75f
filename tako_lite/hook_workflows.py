"""The hook workflows of a catalog, as the store makes their runs."""

from __future__ import annotations

from functools import partial

from tako_lite.catalog import Catalog, WorkflowSpec
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.new_run import make_run
from tako_lite.records import NewRun
from tako_lite.routing import Router
from tako_lite.store.base import DeathHook, Hooks


def hooks_of(catalog: Catalog, router: Router) -> Hooks:
    """What follows from deaths. The store calls the router in its own thread, so it must not ask which groups are healthy."""
    specs = catalog.workflows.values()
    on_dead = tuple(DeathHook(spec.options.on_dead, partial(_of_death, spec, router)) for spec in specs if spec.options.on_dead)
    return Hooks(on_dead, frozenset(spec.name for spec in specs if spec.options.is_hook))


def _of_death(spec: WorkflowSpec, router: Router, payload: str, dead: str, now: int) -> NewRun:
    return make_run(spec, payload, EnqueueRequest(), router, now, parent=dead)
