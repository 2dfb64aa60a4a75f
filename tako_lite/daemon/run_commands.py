"""The commands about runs: enqueue, signal, cancel, discard, retry, wait, and the ones that read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from tako_lite.answers import run_filter
from tako_lite.catalog import Catalog
from tako_lite.clock import Clock
from tako_lite.daemon.meter import Meter
from tako_lite.daemon.run_waiters import RunWaiters
from tako_lite.daemon.scheduler import check_schedule
from tako_lite.errors import WaitTimeout
from tako_lite.names import check_event
from tako_lite.new_run import make_many, make_run, unknown_run, zip_ids
from tako_lite.protocol.arguments import (
    Cancel,
    Discard,
    Enqueue,
    EnqueueMany,
    Filter,
    Find,
    OneRun,
    OneSchedule,
    Retry,
    Signal,
    Wait,
    Wake,
)
from tako_lite.protocol.commands import Handler
from tako_lite.records import Claimed, NewRun, Run
from tako_lite.retry import RetryBatch
from tako_lite.routing import Router
from tako_lite.states import TERMINAL
from tako_lite.store.base import Store
from tako_lite.typed import converter
from tako_lite.wire import encode_decoded

FIRST_START_WAIT: Final = 1.0
"""Seconds that the first enqueue into a group waits to learn whether the group can start at all."""


class RunHost(Protocol):
    """The members of the daemon that the commands about runs use."""

    catalog: Catalog
    store: Store
    clock: Clock
    meter: Meter
    router: Router
    waiters: RunWaiters

    def before_enqueue(self, run: NewRun) -> None: ...
    def recheck_due(self, run: NewRun) -> None: ...
    def wake(self, groups: Iterable[str], due: int | None, signals: bool) -> None: ...
    async def wait_first_start(self, group: str, timeout: float) -> str | None: ...
    def trouble_of(self, group: str) -> str | None: ...
    def awaits(self, run_id: str) -> None: ...
    async def why(self, run: Run) -> str: ...
    def with_worker_pid(self, run: Run) -> dict[str, Any]: ...
    async def list_in_flight(self, run: Run) -> list[dict[str, Any]]: ...


class RunCommands:
    """The handlers of the commands about runs."""

    def __init__(self, host: RunHost) -> None:
        self._host = host
        self._read_enqueue: Callable[[Any], Enqueue] = converter(Enqueue, "enqueue")

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {
            "enqueue": self._enqueue,
            "enqueue_many": self._enqueue_many,
            "signal": self._signal,
            "wake": self._wake,
            "cancel": self._cancel,
            "discard": self._discard,
            "retry": self.retry,
            "find": self._find,
            "get": self._get,
            "wait": self._wait,
            "runs": self._runs,
            "ids": self._ids,
            "why": self._why,
            "run_schedule": self._run_schedule,
        }

    def child(self, parent: Claimed, workflow: str, payload: str, options: dict[str, Any]) -> NewRun:
        """The row of a run that a step starts, for the tenant of its parent. Raises BadInput, NotFound."""
        request = self._read_enqueue({"workflow": workflow, "tenant": parent.tenant, **options})
        return self._new_run(request, payload, self._host.clock.now(), parent.id)

    def _new_run(self, request: Enqueue, payload: str, now: int, parent: str | None = None) -> NewRun:
        host = self._host
        workflow = host.catalog.get(request.workflow)
        return make_run(
            workflow,
            payload,
            request,
            host.router,
            now,
            id=request.run_id,
            unique_key=request.unique_key,
            parent=parent,
            again_of=request.again_of,
        )

    async def _enqueue(self, request: Enqueue) -> dict[str, Any]:
        host = self._host
        now = host.clock.now()
        run = self._new_run(request, _json_text(request.payload), now)
        host.before_enqueue(run)
        (made,) = await host.store.enqueue_runs([run])
        if made.deduplicated:
            host.meter.deduplicated[run.workflow] += 1
        else:
            host.meter.runs_enqueued(run.group, run.workflow, "client")
        if run.run_at > now:
            host.recheck_due(run)
        answer = made.as_json()
        del answer["schema"]
        if made.state == "pending" and not made.deduplicated:
            answer["warning"] = await self._warning(run)
        return answer

    async def _enqueue_many(self, request: EnqueueMany) -> dict[str, Any]:
        host = self._host
        runs = zip_ids(request.run_ids, [_json_text(payload) for payload in request.payloads])
        now = host.clock.now()
        batches = make_many(host.catalog.get(request.workflow), runs, request, host.router, now)
        refused = 0
        if runs:
            for like, _ in batches:
                host.before_enqueue(like)
            refused = await host.store.enqueue_batches(batches)
            for like, batch in batches:
                host.meter.runs_enqueued(like.group, like.workflow, "client", len(batch))
                if like.run_at > now:
                    host.recheck_due(like)
        troubles = (self._trouble(like) for like, _ in batches) if runs else ()
        return {"ids": request.run_ids, "refused": refused, "warning": next(filter(None, troubles), None)}

    async def _wake(self, request: Wake) -> dict[str, Any]:
        self._host.wake(request.work, request.due, request.signals)
        return {}

    def _trouble(self, run: NewRun) -> str | None:
        return run.refusal.failure.message if run.refusal is not None else self._host.trouble_of(run.group)

    async def _warning(self, run: NewRun) -> str | None:
        """Why the group of a run cannot start it, or None."""
        if run.run_at > self._host.clock.now():
            return self._host.trouble_of(run.group)
        return await self._host.wait_first_start(run.group, FIRST_START_WAIT)

    async def _run_schedule(self, request: OneSchedule) -> dict[str, Any]:
        check_schedule(self._host.catalog, request.workflow)
        return await self._enqueue(Enqueue(request.workflow))

    async def _signal(self, request: Signal) -> dict[str, Any]:
        done = await self._host.store.store_signal(check_event(request.event), _json_text(request.payload))
        return {"event": request.event, **done._asdict()}

    async def _cancel(self, request: Cancel) -> dict[str, Any]:
        return {"outcomes": await self._host.store.cancel_runs(request.run_ids)}

    async def _discard(self, request: Discard) -> dict[str, Any]:
        return {"outcomes": await self._host.store.discard_runs(request.run_ids)}

    async def retry(self, request: Retry) -> dict[str, Any]:
        """Start runs over."""
        store = self._host.store
        batch = RetryBatch(self._host.catalog.workflows, self._host.router, fresh=request.fresh)
        for id in request.run_ids:  # one at a time: a run may have a large payload
            batch.add(id, await store.get_run(id))
        return batch.reply(await store.retry_runs(batch.routes, fresh=request.fresh))

    async def _find(self, request: Find) -> dict[str, Any]:
        return {"id": await self._host.store.resolve_ending(request.ending)}

    async def _get(self, request: OneRun) -> dict[str, Any]:
        return {"run": await self._shown(await self._run(request.run_id))}

    async def _run(self, run_id: str) -> Run:
        run = await self._host.store.get_run(run_id)
        if run is None:
            raise unknown_run(run_id)
        return run

    async def _wait(self, request: Wait) -> dict[str, Any]:
        waiters = self._host.waiters
        ended = waiters.add(request.run_id)
        try:
            run = await self._run(request.run_id)
            if run.state not in TERMINAL:
                self._host.awaits(run.id)
            async with asyncio.timeout(request.timeout):
                while run.state not in TERMINAL:
                    await ended
                    run = await self._run(request.run_id)
                    if run.state not in TERMINAL:
                        ended = waiters.add(request.run_id)
        except TimeoutError:
            raise WaitTimeout(f"run {request.run_id} did not end within {request.timeout:g} s") from None
        finally:
            ended.cancel()
        return {"run": await self._shown(run)}

    async def _shown(self, run: Run) -> dict[str, Any]:
        """A run in the format of `show`."""
        return {**self._host.with_worker_pid(run), "in_flight": await self._host.list_in_flight(run)}

    async def _runs(self, request: Filter) -> dict[str, Any]:
        runs = await self._host.store.list_runs(run_filter(request), request.page)
        return {"runs": [self._host.with_worker_pid(run) for run in runs]}

    async def _ids(self, request: Filter) -> dict[str, Any]:
        return {"ids": await self._host.store.list_run_ids(run_filter(request))}

    async def _why(self, request: OneRun) -> dict[str, Any]:
        return {"sentence": await self._host.why(await self._run(request.run_id))}


def _json_text(payload: Any) -> str:
    return "null" if payload is None else encode_decoded(payload, "the payload")
