"""The commands with which people change runs, one by one or all that match a filter, and read who did so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from tako_lite.answers import minutes_json, run_changes, run_filter
from tako_lite.audit import SENDER
from tako_lite.bulk import destination
from tako_lite.clock import Clock
from tako_lite.daemon.bulk import BulkActions, Change
from tako_lite.protocol.arguments import ActivityPage, Bulk, Edit, Filter, Minutes, MoveRuns, Retry, RunNow, StopBulk
from tako_lite.protocol.commands import PAGE, Handler
from tako_lite.routing import check_group
from tako_lite.store.base import Store


class EditHost(Protocol):
    """The members of the daemon that these commands use."""

    store: Store
    clock: Clock

    def group_names(self) -> set[str]: ...
    def report(self, what: str, error: BaseException) -> None: ...


class EditCommands:
    """The handlers of these commands; `retry` is that of the command."""

    def __init__(self, host: EditHost, retry: Callable[[Retry], Awaitable[dict[str, Any]]]) -> None:
        self._host = host
        self._retry = retry
        self.bulk = BulkActions(lambda: host.store, self._change, host.report)

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {
            "run_now": self._run_now,
            "move": self._move,
            "edit": self._edit,
            "bulk": self._bulk,
            "stop_bulk": self._stop_bulk,
            "count": self._count,
            "activity": self._activity,
            "minutes": self._minutes,
        }

    async def _run_now(self, request: RunNow) -> dict[str, Any]:
        return {"outcomes": await self._host.store.run_now(request.run_ids)}

    async def _move(self, request: MoveRuns) -> dict[str, Any]:
        check_group(request.to, self._host.group_names())
        return {"outcomes": await self._host.store.move_each_run(request.run_ids, request.to)}

    async def _edit(self, request: Edit) -> dict[str, Any]:
        changes = run_changes(request)
        if request.worker is not None:
            check_group(request.worker, self._host.group_names())
        outcome = await self._host.store.edit_run(request.run_id, changes)
        if outcome == "edited" and request.worker is not None:
            await self._host.store.move_each_run([request.run_id], request.worker)
        return {"outcome": outcome}

    async def _bulk(self, request: Bulk) -> dict[str, Any]:
        return await self.bulk.run(request, SENDER.get(), self._host.clock.now())

    def _change(self, request: Bulk) -> Change:
        """What a bulk action does to a slice of runs. Raises BadInput, and NotFound for an unknown group."""
        store = self._host.store
        if request.action == "move":
            check_group(to := destination(request), self._host.group_names())
            return lambda ids: self._move(MoveRuns(ids, to))
        if request.action == "retry":
            return lambda ids: self._retry(Retry(ids, request.fresh))
        if request.action == "run_now":
            return lambda ids: self._run_now(RunNow(ids))
        change = store.cancel_runs if request.action == "cancel" else store.discard_runs

        async def outcomes(ids: list[str]) -> dict[str, Any]:
            return {"outcomes": await change(ids)}

        return outcomes

    async def _stop_bulk(self, request: StopBulk) -> dict[str, Any]:
        return self.bulk.stop_one(request.bulk_id)

    async def _count(self, request: Filter) -> dict[str, Any]:
        return {"count": await self._host.store.count_runs(run_filter(request), request.limit)}

    async def _activity(self, request: ActivityPage) -> dict[str, Any]:
        limit = PAGE if request.limit is None else max(0, min(request.limit, PAGE))
        found = await self._host.store.list_activity(limit, request.before, actor=request.actor, action=request.action)
        return {"activity": [done.as_json() for done in found]}

    async def _minutes(self, request: Minutes) -> dict[str, Any]:
        return {"minutes": minutes_json(await self._host.store.list_minutes(request.since, request.until))}
