"""Chooses new routes for the runs of a `retry` command, and builds its reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.new_run import WorkflowLike
from tako_lite.records import Run
from tako_lite.routing import DEFAULT, Plan, Route, Router

MOST_NAMED_STEPS: Final = 1_000
DEFAULT_ROUTE: Final = Route(DEFAULT, "default")
"""The route of a run that does not exist; the store reports it as unknown."""


class RetryBatch:
    """The runs that one `retry` restarts: their new routes, and their steps that ran but whose value could not be stored.

    Such a step runs again. The reply names at most `MOST_NAMED_STEPS` of them, and none with `fresh`, which runs every step
    again.
    """

    def __init__(self, workflows: Mapping[str, WorkflowLike], router: Router, *, fresh: bool) -> None:
        self.routes: dict[str, Route] = {}
        self._workflows = workflows
        self._router = router
        self._left = 0 if fresh else MOST_NAMED_STEPS
        self._steps: dict[str, list[str]] = {}

    def add(self, id: str, run: Run | None) -> None:
        """Choose a route for a run, as it was stored before the retry; None for an unknown id."""
        if run is None:
            self.routes[id] = DEFAULT_ROUTE
            return
        workflow = self._workflows.get(run.workflow)
        self.routes[id] = route_again(run, None if workflow is None else workflow.plan, self._router)
        if names := run.unstored_steps()[: self._left]:
            self._steps[id] = names
            self._left -= len(names)

    def reply(self, outcomes: dict[str, str]) -> dict[str, Any]:
        """The reply to the command."""
        return {"outcomes": outcomes, "unstored": {id: names for id, names in self._steps.items() if outcomes[id] == "pending"}}


def route_again(run: Run, plan: Plan | None, router: Router) -> Route:
    """The route of a restarted run. If `plan` is None, its workflow no longer exists and the run keeps its group."""
    request = EnqueueRequest(
        worker=run.group if run.group_source in ("enqueue", "moved") or plan is None else None,
        fallback=run.fallback if run.fallback_source == "enqueue" else None,
        tenant=run.tenant,
    )
    return router.route(plan or Plan(), request, json.dumps(run.payload), due=True)
