"""What every start of a worker does, done once without effect in a process that waits to become a worker."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from contextlib import suppress
from pathlib import Path

from tako_lite.protocol.worker import ReadyFrame
from tako_lite.wire import encode_frame
from tako_lite.worker.loop import choose_loop, offer_loop
from tako_lite.workflow import workflow


def rehearse() -> None:
    """Use what a start uses, so that this process has its own copy of that memory before there is work. Never raises."""
    with suppress(Exception):
        _rehearse()


def _rehearse() -> None:
    thread = threading.Thread(target=int, daemon=True)
    thread.start()
    thread.join()
    loop = choose_loop(offer_loop())
    loop.run_until_complete(_handler(None, None))
    loop.close()
    asyncio.set_event_loop(None)
    inspect.signature(_handler).parameters.values()
    inspect.iscoroutinefunction(_handler)
    workflow("rehearsal")(_handler)
    file = Path(__file__)
    (file.parent / str(file)).is_dir()
    json.loads(encode_frame(ReadyFrame(t="ready", pid=0, workflows=["rehearsal"], files={str(file): [0]})))


async def _handler(payload: None, step: None) -> None:
    """A handler."""
