"""Starts the runs of workflows with `on_unhealthy`; the store starts those of workflows with `on_dead` itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tako_lite.catalog import Catalog
from tako_lite.clock import Clock, iso
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.hooks import Unhealthy
from tako_lite.new_run import make_run
from tako_lite.processes.group import Group
from tako_lite.records import NewRun
from tako_lite.routing import Router, matches_any
from tako_lite.store.base import Store


class HookRuns:
    """Knows which groups are unhealthy, so that each time that one becomes so makes one run of each matching workflow."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        server: str,
        before_enqueue: Callable[[NewRun], None],
        watch: Callable[[Any, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._server = server
        self._before_enqueue = before_enqueue
        self._watch = watch
        self._unhealthy: set[str] = set()

    def group_changed(self, group: Group, catalog: Catalog, router: Router) -> None:
        """Start the hook runs of a group that became unhealthy, once until one of its workers is ready again."""
        if group.is_unhealthy and group.name not in self._unhealthy:
            self._unhealthy.add(group.name)
            self._start(group, catalog, router)
        elif group.has_been_ready and not group.failures:
            self._unhealthy.discard(group.name)

    def _start(self, group: Group, catalog: Catalog, router: Router) -> None:
        now = self._clock.now()
        about = Unhealthy(
            group=group.name,
            server=self._server,
            failures=group.failures,
            error=group.last_error or "",
            since=iso(now) or "",
            see=f"tako-lite groups {group.name}",
        )
        payload = json.dumps(asdict(about), ensure_ascii=False)
        specs = [spec for spec in catalog.workflows.values() if matches_any(group.name, spec.options.on_unhealthy)]
        runs = [make_run(spec, payload, EnqueueRequest(), router, now) for spec in specs]
        for run in runs:
            self._before_enqueue(run)
        if runs:
            self._watch(self._store.enqueue_runs(runs), f"start the hooks of the unhealthy group {group.name}")
