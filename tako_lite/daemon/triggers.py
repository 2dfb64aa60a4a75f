"""Polling triggers: when each is due, and the runs that its evaluations start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tako_lite.catalog import Catalog
from tako_lite.clock import Clock
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.errors import ProtocolError
from tako_lite.new_run import make_many, make_run
from tako_lite.protocol.arguments import Nothing, OneTrigger, PauseTrigger
from tako_lite.protocol.commands import Handler
from tako_lite.records import Claimed, Failure, StoredTrigger, new_ids
from tako_lite.routing import Router
from tako_lite.store.base import Store
from tako_lite.trigger_options import EVALUATION
from tako_lite.wire import MAX_VALUE, decode_value, encode_value

_DUE_NOW: Final = EnqueueRequest()


def triggers_of(catalog: Catalog) -> list[StoredTrigger]:
    """The triggers of a catalog, as if none had been evaluated yet."""
    return [
        StoredTrigger(spec.name, spec.group, spec.options.starts, round(spec.options.every * 1000))
        for spec in catalog.triggers.values()
    ]


class Triggers:
    """Starts evaluations, which are hidden runs, and starts a run for each payload that they return.

    `due` has the due time of each stored trigger that is neither paused nor being evaluated; the scheduler's timer reads it.
    """

    def __init__(self, store: Store, clock: Clock, catalog: Catalog, trouble: Callable[[str], str | None]) -> None:
        self.catalog = catalog
        self.router: Router
        self.due: dict[str, int] = {}
        self._store = store
        self._clock = clock
        self._trouble = trouble

    async def evaluate_due(self) -> None:
        """Start an evaluation of each trigger that is due. A due time too far ahead comes from a wrong clock and counts."""
        now = self._clock.now()
        failed: Exception | None = None
        for name, moment in list(self.due.items()):
            spec = self.catalog.triggers.get(name)  # during a reload, the catalog in the store is newer than this one
            if spec is not None and (moment <= now or moment > now + round(spec.options.every * 1000)):
                try:
                    await self._begin(name, by_hand=False)
                except Exception as error:  # the other triggers must still be evaluated
                    failed = error
        if failed is not None:
            raise failed

    async def _begin(self, name: str, *, by_hand: bool) -> bool:
        evaluation = self.catalog.triggers[name].evaluation
        run = make_run(evaluation, "null", _DUE_NOW, self.router, self._clock.now())
        return await self._store.begin_evaluation(name, run, by_hand=by_hand)

    def found(self, run: Claimed, text: object, pid: int) -> Awaitable[Any]:
        """Store the runs and the cursor that an evaluation returned as JSON text, in one transaction. Raises ProtocolError."""
        if not isinstance(text, str) or len(text) > MAX_VALUE:
            raise ProtocolError("the result of an evaluation is JSON text of at most 1 MiB")
        payloads, cursor = decode_value(text)
        spec = self.catalog.triggers.get(run.workflow.removeprefix(EVALUATION))
        if spec is None:
            gone = Failure("Gone", "no workflow file has the trigger any more, so nothing of what it found was stored")
            return self._store.finish_run(run.id, run.token, "dead", gone, pid, charged=True)
        new = list(zip(new_ids(len(payloads)), map(encode_value, payloads), strict=True)) if payloads else []
        target = self.catalog.get(spec.options.starts)
        batches = make_many(target, new, _DUE_NOW, self.router, self._clock.now()) if new else []
        return self._store.complete_evaluation(run.id, run.token, encode_value(cursor), batches)

    # Commands

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"triggers": self._list, "pause_trigger": self._pause, "run_trigger": self._run}

    async def _list(self, _: Nothing) -> dict[str, Any]:
        return {"triggers": [trigger.as_json(self._trouble(trigger.group)) for trigger in await self._store.list_triggers()]}

    async def _pause(self, request: PauseTrigger) -> dict[str, Any]:
        await self._store.pause_trigger(self.catalog.trigger(request.name).name, request.paused)
        return {}

    async def _run(self, request: OneTrigger) -> dict[str, Any]:
        """Evaluate a trigger now, paused or not; `begun` is false if it is being evaluated already."""
        spec = self.catalog.trigger(request.name)
        begun = await self._begin(spec.name, by_hand=True)
        return {"name": spec.name, "group": spec.group, "begun": begun, "warning": self._trouble(spec.group)}
