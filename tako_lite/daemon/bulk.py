"""Bulk actions: one command for all runs that match a filter, carried out in the daemon, slice by slice.

A bulk action has an id that the client makes. The same command with the same id joins the action, so a client that lost its
connection asks again. Each slice is a transaction of its own, and other commands are served between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from tako_lite.audit import Sender
from tako_lite.bulk import BulkProgress, bulk_filter
from tako_lite.errors import NotFound
from tako_lite.new_run import check_id
from tako_lite.protocol.arguments import Bulk
from tako_lite.store.base import RunFilter, Store

SLICE: Final = 500
"""How many runs one transaction changes."""
KEPT: Final = 100
"""How many actions are remembered; those that have ended go first."""
LONGEST_WAIT: Final = 20.0
"""Seconds that one command waits for the end; a client waits longer for the reply."""

Change = Callable[[list[str]], Awaitable[dict[str, Any]]]
"""Changes a slice of runs, and returns the answer that the command for them gives."""


class BulkJob(BulkProgress):
    """A bulk action of this daemon."""

    def __init__(self, request: Bulk, matched: int, by: Sender, now: int) -> None:
        super().__init__(request, matched, by, now)
        self.ended = asyncio.Event()

    def stop(self) -> None:
        """Have the action stop after its current slice."""
        self.is_stopped = self.is_stopped or not self.is_done


class BulkActions:
    """The bulk actions of this daemon: those under way, and the last ones that ended."""

    def __init__(
        self, store: Callable[[], Store], change: Callable[[Bulk], Change], report: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._change = change
        self._report = report
        self._jobs: dict[str, BulkJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, request: Bulk, by: Sender, now: int) -> dict[str, Any]:
        """Begin or join a bulk action, and answer once it has ended, or after `wait` seconds with how far it has come."""
        job = self._jobs.get(check_id(request.bulk_id)) or await self._begin(request, by, now)
        try:
            async with asyncio.timeout(max(0.0, min(request.wait, LONGEST_WAIT))):
                await job.ended.wait()
        except TimeoutError:
            pass
        return job.as_json()

    def stop_one(self, id: str) -> dict[str, Any]:
        """Stop a bulk action after its current slice. Raises NotFound."""
        job = self._jobs.get(id)
        if job is None:
            raise NotFound("there is no such bulk action", hint="tako-lite activity lists them", type="unknown_bulk")
        job.stop()
        return job.as_json()

    @property
    def is_working(self) -> bool:
        """Whether a bulk action is under way."""
        return bool(self._tasks)

    async def stop(self) -> None:
        """Stop all bulk actions; stopping twice is safe."""
        for job in self._jobs.values():
            job.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _begin(self, request: Bulk, by: Sender, now: int) -> BulkJob:
        change, chosen = self._change(request), bulk_filter(request, now)
        job = BulkJob(request, await self._store().count_runs(chosen), by, now)
        job.refuse_unexpected()
        if (known := self._jobs.get(request.bulk_id)) is not None:  # the same command came twice
            return known
        self._forget_one()
        self._jobs[request.bulk_id] = job
        task = asyncio.get_running_loop().create_task(self._work(job, chosen, change))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def _forget_one(self) -> None:
        if len(self._jobs) >= KEPT and (ended := next((id for id, job in self._jobs.items() if job.is_done), None)):
            del self._jobs[ended]

    async def _work(self, job: BulkJob, chosen: RunFilter, change: Change) -> None:
        store = self._store()
        try:
            if job.matched:
                await store.record_activity(job.as_activity())
            while not job.is_stopped and (ids := await store.list_run_ids(chosen, SLICE)):
                job.add(await change(ids))
                chosen = replace(chosen, after=ids[-1])
        except Exception as error:
            job.error = str(error)
            self._report(f"the bulk action {job.request.bulk_id}", error)
        finally:
            job.is_done = True
            job.ended.set()
        if job.matched:
            await store.record_activity(job.as_activity())
