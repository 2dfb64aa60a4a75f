"""Why the daemon ends, besides a signal or a fatal error: the command `stop`, or because it is idle."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from tako_lite.audit import SENDER
from tako_lite.protocol.arguments import Stop
from tako_lite.protocol.commands import Handler


class Ending:
    """A request to end the daemon, which `serve` waits for. `kill` ends the workers without waiting for their runs."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self.requested: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done with the reason once the daemon is to end."""
        self.wakes_up_later = False
        """Whether the service manager is to start it again when something becomes due."""
        self._kill = kill

    def request(self, reason: str) -> None:
        """Have the daemon drain its workers and end; twice is harmless."""
        if not self.requested.done():
            self.requested.set_result(reason)

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"stop": self._stop}

    async def _stop(self, request: Stop) -> dict[str, Any]:
        """Begin to stop; the client sees at the locks when the daemon has ended."""
        self.request(f"`stop` by {SENDER.get().actor}")
        if request.now:
            self._kill()
        return {"pid": os.getpid()}
