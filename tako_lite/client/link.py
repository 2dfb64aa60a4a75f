"""The way of a handler to the daemon: through the existing link of its worker."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tako_lite.errors import BadInput

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine

Sender = Callable[[str, dict[str, Any]], "Coroutine[Any, Any, dict[str, Any]]"]
"""Sends a command with its arguments, and returns the answer of the daemon. Raises the error in the answer."""


class HandlerLink(NamedTuple):
    """The link of a worker, for clients in handlers. It belongs to one process, not to processes forked from it.

    With `for_all`, it also serves the clients that were given a `config`: in a test, none of them may reach a real queue.
    """

    sender: Sender
    loop: AbstractEventLoop
    pid: int
    for_all: bool = False

    def ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer, for a thread other than the one of the worker's loop. Raises BadInput on that loop."""
        import asyncio  # a process with a link has imported it already

        if _running_loop() is self.loop:
            raise BadInput(
                "a blocking call in an async handler would wait for itself forever",
                hint="await handle.aenqueue(…), or the same method of AsyncClient",
            )
        return asyncio.run_coroutine_threadsafe(self.sender(command, arguments), self.loop).result()

    def awaitable(self, command: str, arguments: dict[str, Any]) -> Awaitable[dict[str, Any]]:
        """The answer, to be awaited in the loop of the caller."""
        import asyncio

        if _running_loop() is self.loop:
            return self.sender(command, arguments)
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.sender(command, arguments), self.loop))


_link: HandlerLink | None = None
spared: set[str] = set()
"""The folders of projects whose clients use the socket even where a link is for all: real daemons that a test has started."""


def use_link(sender: Sender | None, loop: AbstractEventLoop | None = None, *, for_all: bool = False) -> None:
    """Make every client of this process without a `config`, or all clients, send through `sender`, which runs in `loop`.

    With None they use the socket again.
    """
    use(HandlerLink(sender, loop, os.getpid(), for_all) if sender is not None and loop is not None else None)


def use(link: HandlerLink | None) -> None:
    """Make this link, or none, that of the process."""
    global _link
    _link = link


def current() -> HandlerLink | None:
    """The link of this process, or None outside of a worker."""
    return _link if _link is not None and _link.pid == os.getpid() else None


def _running_loop() -> AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
