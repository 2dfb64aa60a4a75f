"""The API of a client, written once for both kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from tako_lite import tracing
from tako_lite.client import requests
from tako_lite.client.pipeline import Pipeline
from tako_lite.client.requests import Ids, Outcomes
from tako_lite.client.transport import FIRST_PAUSE, LONGEST_PAUSE, Transport
from tako_lite.clock import Clock
from tako_lite.enqueue_options import text
from tako_lite.errors import DaemonUnreachable, TakoError, WaitTimeout
from tako_lite.records import Enqueued
from tako_lite.states import TERMINAL
from tako_lite.units import duration, duration_text

if TYPE_CHECKING:
    from tako_lite.client.transactional import UserTransactions
    from tako_lite.store.postgres.transactional import Parameters

ID_LENGTH: Final = 36


class ClientCore:
    """The methods of `Client` and `AsyncClient`, as coroutines over a transport."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self.close = transport.close

    async def enqueue(self, workflow: object, payload: object, options: Mapping[str, Any]) -> Enqueued:
        if not tracing.is_loaded() or options.get("trace") is not None:
            return requests.enqueued(await self._transport.ask(requests.enqueue(workflow, payload, options)))
        with tracing.sending(requests.workflow_name(workflow)) as trace:
            request = requests.enqueue(workflow, payload, {**options, "trace": trace})
            return requests.enqueued(await self._transport.ask(request))

    async def enqueue_many(self, workflow: object, payloads: Iterable[Any], options: Mapping[str, Any]) -> Ids:
        if not tracing.is_loaded() or options.get("trace") is not None:
            return await self._enqueue_many(workflow, payloads, options)
        with tracing.sending(requests.workflow_name(workflow)) as trace:
            return await self._enqueue_many(workflow, payloads, {**options, "trace": trace})

    async def _enqueue_many(self, workflow: object, payloads: Iterable[Any], options: Mapping[str, Any]) -> Ids:
        many = requests.enqueue_many(workflow, payloads, options)
        pipeline = Pipeline(self._transport)
        try:
            for request in many:
                await pipeline.add(request)
            return await pipeline.finish()
        except TakoError as error:
            if not isinstance(error, DaemonUnreachable):
                with suppress(TakoError):
                    await pipeline.finish()
            if pipeline.ids:
                stored = f"{len(pipeline.ids):,} of the payloads before are stored, the last of them as {pipeline.ids[-1]}"
                error.hint = f"{error.hint}; {stored}" if error.hint else stored
            raise
        finally:
            pipeline.close()

    async def enqueue_with(
        self, connection: Any, notify: bool, workflow: object, payload: object, options: Mapping[str, Any]
    ) -> Enqueued:
        """Enqueue in the transaction of a user's connection."""
        with _traced(workflow, options) as traced:
            return await self._transactions().enqueue(requests.enqueue(workflow, payload, traced), connection, notify)

    async def enqueue_many_with(
        self, connection: Any, notify: bool, workflow: object, payloads: Iterable[Any], options: Mapping[str, Any]
    ) -> Ids:
        """Enqueue many runs in the transaction of a user's connection."""
        with _traced(workflow, options) as traced:
            many = requests.enqueue_many(workflow, payloads, traced)
            return await self._transactions().enqueue_many(many, connection, notify)

    async def signal_with(self, connection: Any, notify: bool, event: str, payload: object) -> int:
        """Signal in the transaction of a user's connection; returns 0, because the waits end after the commit."""
        request = requests.any_request("signal", {"event": text("event", event), "payload": payload})
        await self._transactions().signal(request, connection, notify)
        return 0

    def statement(
        self, workflow: object, payload: object, style: str, notify: bool, options: Mapping[str, Any]
    ) -> tuple[str, Parameters]:
        with _traced(workflow, options) as traced:
            return self._transactions().statement(requests.enqueue(workflow, payload, traced), style, notify)

    def _transactions(self) -> UserTransactions:
        from tako_lite.client.transactional import UserTransactions  # imports the catalog, which most clients do not need

        return UserTransactions(self._transport, self._clock)

    async def signal(self, event: str, payload: object) -> int:
        answer = await self.call("signal", {"event": text("event", event), "payload": payload})
        return int(answer["woken"])

    async def outcomes(self, command: str, ids: Iterable[str], **arguments: Any) -> Outcomes:
        """The outcome of a command for each run. The ids are sent in parts that fit into a frame."""
        full = [await self.full_id(id) for id in ids]
        outcomes = Outcomes()
        for start in range(0, len(full), requests.MOST_AT_ONCE):
            part = full[start : start + requests.MOST_AT_ONCE]
            outcomes.add(await self.call(command, {"run_ids": part, **arguments}))
        return outcomes

    async def get(self, id: str) -> dict[str, Any]:
        answer = await self.call("get", {"run_id": await self.full_id(id)})
        return dict(answer["run"])

    async def wait(self, id: str, timeout: Any) -> dict[str, Any]:
        limit = None if timeout is None else duration(timeout)
        end = None if limit is None else self._clock.monotonic() + limit
        id = await self.full_id(id)
        pause = FIRST_PAUSE
        while True:
            left = None if end is None else max(0.0, end - self._clock.monotonic())
            try:
                answer = await self._transport.ask_for_end(id, left)
            except WaitTimeout:
                answer, left = None, 0
            if answer is not None and answer["run"]["state"] in TERMINAL:
                return dict(answer["run"])
            if left == 0:
                hint = "it stays in the queue; `tako-lite why` explains its state"
                raise WaitTimeout(f"run {id} did not end within {duration_text(limit or 0)}", hint=hint)
            await self._transport.io.sleep(pause if left is None else min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def logs(self, id: str) -> list[dict[str, Any]]:
        from tako_lite.client.logfiles import stored_lines  # most clients read no logs

        id, folder = await self.full_id(id), self._transport.logs_dir()
        return await self._transport.io.offload(lambda: [line.as_json() for line in stored_lines(folder, None, id)])

    async def page(self, chosen: Mapping[str, Any], before: str | None) -> list[dict[str, Any]]:
        """The next page of a filter: the runs before an id, if one is given. The page after the last run is empty."""
        return list((await self.call("runs", {**chosen, "before": before}))["runs"])

    async def status(self) -> dict[str, Any]:
        return await self.call("status", {})

    async def call(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return await self._transport.ask(requests.any_request(command, arguments))

    async def full_id(self, id: str) -> str:
        """The full id for an id or the end of one. Raises NotFound, and BadInput if several ids end with it."""
        if len(text("id", id)) == ID_LENGTH:
            return id.lower()
        return str((await self.call("find", {"ending": id}))["id"])


@contextmanager
def _traced(workflow: object, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options with the trace of this enqueue, if the program traces and they have none."""
    if not tracing.is_loaded() or options.get("trace") is not None:
        yield options
        return
    with tracing.sending(requests.workflow_name(workflow)) as trace:
        yield {**options, "trace": trace}
