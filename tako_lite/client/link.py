"""The way from a handler to the daemon: through the link that its worker has already."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tako_lite.errors import BadInput

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine

Sender = Callable[[str, dict[str, Any]], "Coroutine[Any, Any, dict[str, Any]]"]
"""Takes a command and its arguments, and awaits what the daemon answers. Raises the error that it answers with."""


class Link(NamedTuple):
    """A worker's link; it belongs to the process that set it up, not to what that forks."""

    sender: Sender
    loop: AbstractEventLoop
    pid: int

    def ask(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer, for a thread beside the loop of the worker."""
        import asyncio  # whoever has a link has paid for this import already

        if _running_loop() is self.loop:
            raise BadInput(
                "a blocking call in an async handler would wait for itself for ever",
                hint="await handle.aenqueue(…), or the same method of AsyncClient",
            )
        return asyncio.run_coroutine_threadsafe(self.sender(command, arguments), self.loop).result()

    def awaitable(self, command: str, arguments: dict[str, Any]) -> Awaitable[dict[str, Any]]:
        """The answer, to be awaited in whatever loop the caller runs in."""
        import asyncio

        if _running_loop() is self.loop:
            return self.sender(command, arguments)
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.sender(command, arguments), self.loop))


_link: Link | None = None


def use_link(sender: Sender | None, loop: AbstractEventLoop | None = None) -> None:
    """From now on every client of this process that was given no configuration asks through `sender`, which runs in `loop`.

    None goes back to the socket.
    """
    global _link
    _link = Link(sender, loop, os.getpid()) if sender is not None and loop is not None else None


def current() -> Link | None:
    """The link of this process, if it is a worker."""
    return _link if _link is not None and _link.pid == os.getpid() else None


def _running_loop() -> AbstractEventLoop | None:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
