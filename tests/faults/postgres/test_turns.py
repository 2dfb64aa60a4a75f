"""Any sequence of transitions that two servers take turns at is as the model of one store says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tako_lite.store.base import Claims, Store
from tests.store.machine import EXAMPLES, Deed, StoreMachine, run_machine
from tests.support.backends import PostgresBackend, open_store
from tests.support.store_bench import Bench

OF_CLAIMS = ("reschedule_run", "finish_run", "charge_crash", "invoke_child", "enqueue_child", "park_run")
"""The transitions whose first arguments are a claim."""


class Turns:
    """Two stores on one queue as if they were one: each call goes to the next, but what is about a claim to its holder."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self._turn = 0
        self._holders: dict[tuple[str, int], int] = {}

    def __getattr__(self, name: str) -> Any:
        self._turn += 1
        return getattr(self._stores[self._turn // 3 % len(self._stores)], name)

    async def start(self) -> None:
        for store in self._stores:
            await store.start()

    async def stop(self) -> None:
        for store in self._stores:
            await store.stop()

    async def claim_runs(self, *arguments: Any) -> Claims:
        self._turn += 1
        number = self._turn // 3 % len(self._stores)
        claims = await self._stores[number].claim_runs(*arguments)
        self._holders |= {(run.id, run.token): number for run in claims.runs}
        return claims

    def holder(self, id: str, token: int) -> Store:
        """The store that a claim was given to."""
        return self._stores[self._holders.get((id, token), 0)]

    async def complete_runs(self, done: Sequence[Any]) -> None:
        for store in self._stores:  # children that end in one moment settle their parents together
            await store.complete_runs([run for run in done if self.holder(run.id, run.token) is store])

    async def save_steps(self, steps: Sequence[Any]) -> list[Any]:
        return [(await self.holder(step.run_id, step.token).save_steps([step]))[0] for step in steps]

    async def requeue_runs(self, claims: Sequence[tuple[str, int]], *arguments: Any) -> None:
        for claim in claims:
            await self.holder(*claim).requeue_runs([claim], *arguments)

    async def add_wait(self, wait: Any) -> Any:
        return await self.holder(wait.run_id, wait.token).add_wait(wait)


def _of_claim(name: str) -> Any:
    async def call(self: Turns, id: str, token: int, *arguments: Any, **options: Any) -> Any:
        return await getattr(self.holder(id, token), name)(id, token, *arguments, **options)

    return call


for name in OF_CLAIMS:
    setattr(Turns, name, _of_claim(name))


class TwoServers(StoreMachine):
    """What is done in one moment is done by one after the other: two servers share no transaction."""

    backend: PostgresBackend

    async def _open(self) -> None:
        queue = self.backend.queue(self.folder)
        stores = [open_store(queue, self.clock, self._committed, boot_id) for boot_id in ("boot-1", "boot-2")]
        self.store = Turns(stores)  # type: ignore[assignment]
        self.bench = Bench(self.store, self.clock, self.told, queue)
        await self.store.start()
        await self.store.put_schedules([self.tick()], self.clock.now())

    async def answers(self, deeds: Sequence[Deed]) -> list[Any]:
        return [(await asyncio.gather(deed.call(), return_exceptions=True))[0] for deed in deeds]


@pytest.mark.full
@pytest.mark.timeout(0 if EXAMPLES else 240)
def test_two_servers_that_take_turns_do_what_the_model_of_one_says(postgres_backend: PostgresBackend) -> None:
    run_machine(lambda: TwoServers(postgres_backend), 10)
