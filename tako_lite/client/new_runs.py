"""The rows of new runs, made from the files of a project: for a client that writes the queue without a daemon."""

from __future__ import annotations

from typing import Any

from tako_lite.client.project import Project
from tako_lite.client.request import Request
from tako_lite.hook_workflows import hooks_of
from tako_lite.new_run import make_many, make_run, zip_ids
from tako_lite.protocol.arguments import SHAPES, Enqueue, EnqueueMany
from tako_lite.records import Batch
from tako_lite.routing import DEFAULT, Router
from tako_lite.store.base import Hooks
from tako_lite.typed import converter


def typed_arguments(request: Request) -> Any:
    """The typed arguments of a request. Raises BadInput."""
    arguments = request.whole()
    arguments.pop("by", None)
    return converter(SHAPES[request.command], request.command)(arguments)


def router_of(project: Project) -> Router:
    """The router of a project. Every group counts as available: the next daemon checks that."""
    config = project.config()
    return Router(config.routes, {*config.groups, *project.catalog().groups, DEFAULT})


def hooks_of_project(project: Project) -> Hooks:
    """The hook workflows of a project."""
    return hooks_of(project.catalog(), router_of(project))


def new_runs(project: Project, request: Enqueue | EnqueueMany, texts: list[str], now: int) -> list[Batch]:
    """The rows of new runs. Raises NotFound for an unknown workflow, group or tenant, and BadInput."""
    workflow, router = project.catalog().get(request.workflow), router_of(project)
    if isinstance(request, EnqueueMany):
        return make_many(workflow, zip_ids(request.run_ids, texts), request, router, now)
    run = make_run(
        workflow,
        (texts or ["null"])[0],
        request,
        router,
        now,
        id=request.run_id,
        unique_key=request.unique_key,
        again_of=request.again_of,
    )
    return [(run, ((run.id, run.payload),))]
