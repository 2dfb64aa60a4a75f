"""The daemon's end of a worker's socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Final, cast

from tako_lite.errors import ProtocolError
from tako_lite.protocol.worker import (
    FromWorker,
    PriorStep,
    PushedRun,
    RunFrame,
    StepsFrame,
    ToWorker,
)
from tako_lite.wire import MAX_LINK_FRAME, LineReader, encode_frame

FRAME_GOAL: Final = 2 * 1024 * 1024
"""Characters of values after which a frame is full; the rest of a batch goes into the next one."""


class WorkerLink(asyncio.Protocol):
    """Frames to and from one worker.

    It reports an invalid frame or a closed socket to `on_lost`, and any other error of `on_frame` to `on_error`.
    """

    def __init__(
        self,
        on_frame: Callable[[FromWorker], None],
        on_lost: Callable[[str | None], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_error = on_error
        self._lines = LineReader(MAX_LINK_FRAME)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._lines.feed(data):
                self._on_frame(json.loads(line))
        except (ProtocolError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            logging.getLogger("tako_lite").warning("a worker sent an invalid frame", exc_info=error)
            self.close()
            self._on_lost(f"sent invalid data: {type(error).__name__}: {error}")
        except Exception as error:
            self.close()
            self._on_error(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(None)

    def send(self, frame: ToWorker) -> None:
        """Send a frame; it is dropped if the worker is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(frame))

    def push(self, runs: Sequence[PushedRun]) -> None:
        """Push runs in as many frames as they need; stored steps that are too long for a frame go ahead of their run."""
        batch: list[PushedRun] = []
        size = 0
        for run in runs:
            weight = len(run.payload)
            if run.steps:
                weight += sum(len(step.text or "") for step in run.steps)
                if weight > FRAME_GOAL:
                    self._push_steps(run.run_id, run.steps)
                    run, weight = run._replace(steps=()), len(run.payload)
            batch.append(run)
            size += weight
            if size > FRAME_GOAL:
                self.send(RunFrame(t="run", runs=batch))
                batch, size = [], 0
        if batch:
            self.send(RunFrame(t="run", runs=batch))

    def _push_steps(self, run_id: str, steps: Sequence[PriorStep]) -> None:
        part: list[PriorStep] = []
        size = 0
        for step in steps:
            part.append(step)
            size += len(step.text or "")
            if size > FRAME_GOAL:
                self.send(StepsFrame(t="steps", id=run_id, steps=part))
                part, size = [], 0
        if part:
            self.send(StepsFrame(t="steps", id=run_id, steps=part))

    def close(self) -> None:
        """Close the socket; twice is harmless."""
        if self._transport is not None:
            self._transport.close()
