"""The methods of a `Tako` as coroutines, for asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import anyio

if TYPE_CHECKING:
    from tako_lite.testing.tako import Tako

P = ParamSpec("P")
T = TypeVar("T")


class AioTako:
    """Calls each method in a thread, so that the loop of the test serves what handlers need of it meanwhile."""

    def __init__(self, tako: Tako) -> None:
        self.enqueue = _awaitable(tako.enqueue)
        self.enqueue_many = _awaitable(tako.enqueue_many)
        self.run = _awaitable(tako.run)
        self.run_until_idle = _awaitable(tako.run_until_idle)
        self.step_once = _awaitable(tako.step_once)
        self.advance = _awaitable(tako.advance)
        self.advance_to = _awaitable(tako.advance_to)
        self.tick = _awaitable(tako.tick)
        self.poll = _awaitable(tako.poll)
        self.signal = _awaitable(tako.signal)
        self.cancel = _awaitable(tako.cancel)
        self.retry = _awaitable(tako.retry)
        self.assert_enqueued = _awaitable(tako.assert_enqueued)
        self.refute_enqueued = _awaitable(tako.refute_enqueued)
        self.clear = _awaitable(tako.clear)


def _awaitable(method: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    async def call(*arguments: P.args, **options: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(partial(method, *arguments, **options))

    return call
