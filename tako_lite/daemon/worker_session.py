"""One worker while it lives: its link, the runs that are assigned to it, and when it was last heard."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from tako_lite.daemon.link import WorkerLink
from tako_lite.protocol.worker import ASK_IN_FLIGHT, FromWorker, InFlight, PushedRun, ToWorker
from tako_lite.records import Claimed
from tako_lite.stamps import FileStamp, file_stamp

if TYPE_CHECKING:
    from tako_lite.daemon.events import Events
    from tako_lite.daemon.logs import Capture
    from tako_lite.processes.worker import Worker

ANSWERS_WITHIN: Final = 0.5
"""Seconds that the guard thread of a worker gets to name the steps under way."""
HANG_UP_GRACE: Final = 1.0
"""Seconds that a worker whose link has closed gets to end by itself."""


@dataclass(slots=True)
class Assignment:
    """A claimed run that was pushed to a worker, and since when."""

    claimed: Claimed
    since: float
    timers: tuple[asyncio.TimerHandle, ...] = ()


class ItemReader(Protocol):
    """What stores the items that a worker sends."""

    def read(self, session: WorkerSession, items: Sequence[Sequence[Any]]) -> None: ...


class WorkerSession:
    """Receives the frames of one worker and sends it frames; `on_ready` is called when the worker takes its first runs."""

    def __init__(
        self, worker: Worker, capture: Capture, outcomes: ItemReader, events: Events, on_ready: Callable[[Worker], None]
    ) -> None:
        self.worker = worker
        self.capture = capture
        self.assignments: dict[str, Assignment] = {}
        self.kill_reasons: dict[str, str] = {}
        """The runs because of which the daemon kills this worker, and why: `timeout`, `cancelled` or `silent`."""
        self.has_hooks = False
        self._outcomes = outcomes
        self._events = events
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self.last_heard = self._loop.time()
        self.cpu_mark: float | None = None
        """The processor time that the worker had used when its silence was first noticed."""
        self.protocol = WorkerLink(self._on_frame, self._on_lost, self._on_error)
        """The end of the link that belongs to the daemon."""

    @property
    def free_slots(self) -> int:
        return self.worker.slots - len(self.assignments) if self.worker.takes_work else 0

    async def connect(self, link: socket.socket) -> None:
        """Listen to the worker."""
        await self._loop.create_connection(lambda: self.protocol, sock=link)

    def send(self, frame: ToWorker) -> None:
        """Send a frame; one to a worker that is gone is dropped."""
        self.protocol.send(frame)

    def push(self, runs: Sequence[PushedRun]) -> None:
        """Send runs that were assigned to the worker."""
        self.protocol.push(runs)

    def close(self) -> None:
        """Close the link; twice is harmless."""
        self.protocol.close()

    def on_heartbeat(self) -> None:
        """Note a sign of life of a busy worker."""
        self.last_heard = self._loop.time()
        self.cpu_mark = None

    async def list_in_flight(self) -> list[InFlight]:
        """The steps that the worker executes now; none if it does not answer soon."""
        child = self.worker.child
        answer = None if child is None else await child.ask(ASK_IN_FLIGHT, ANSWERS_WITHIN)
        return [] if answer is None else [InFlight(*step) for step in json.loads(answer)]

    def kill_for(self, run_id: str, reason: str) -> None:
        """Kill the worker because of one of its runs; the daemon re-queues the others, uncharged."""
        if run_id in self.assignments and self.worker.child is not None:
            self.kill_reasons[run_id] = reason
            self._events.killing(self, run_id, reason)
            self.worker.kill_for(run_id, reason)

    # Frames

    def _on_frame(self, frame: FromWorker) -> None:
        self.last_heard = self._loop.time()
        if frame["t"] == "out":
            before = list(self.assignments)
            self._outcomes.read(self, frame["items"])
            ended = [run for run in before if run not in self.assignments]
            if ended:
                self.capture.runs_ended(ended)
        elif frame["t"] == "ready":
            self._ready(frame["files"])
        elif frame["t"] == "files":
            if self.worker.takes_work:
                self.worker.group.loaded |= stamps_of(frame["files"])
        elif frame["t"] == "hooks":
            self.has_hooks = True
        elif frame["t"] == "broken":
            self.worker.group.broken(self.worker, str(frame["error"]))

    def _ready(self, files: Mapping[str, Sequence[int]]) -> None:
        group = self.worker.group
        others = [source.place for source in group.settings.secrets.values() if source.kind == "file"]
        if group.settings.env_file is not None:
            others.append(group.settings.env_file)
        loaded = stamps_of(files) | {file: stamp for file in others if (stamp := file_stamp(file)) is not None}
        if any(worker.takes_work for worker in group.workers):
            loaded |= group.loaded  # an older worker runs what was read before an edit
        group.loaded = loaded
        group.ready(self.worker)
        self._on_ready(self.worker)

    # The end of the link

    def _on_lost(self, reason: str | None) -> None:
        """The link closed, or carried something invalid: kill the worker, unless it ends by itself after it hung up."""
        child = self.worker.child
        if child is None or self.worker.state == "exited":
            return
        self.worker.lose_link()
        if reason is not None:
            self._events.trouble(f"worker {child.pid} of group {self.worker.group.name} {reason}")
            self.worker.kill("nonsense")
        else:
            self._loop.call_later(HANG_UP_GRACE, self.worker.kill, "unreachable")

    def _on_error(self, error: Exception) -> None:
        """The daemon failed at what the worker reported, and part of the report may be lost.

        The runs of the worker are charged as after a crash, so that one which has this effect each time comes to an end.
        """
        self._events.unexpected.raised(f"the reading of a report of group {self.worker.group.name}", error)
        self.worker.lose_link()
        self.worker.kill("daemon")


def stamps_of(files: Mapping[str, Sequence[int]]) -> dict[str, FileStamp]:
    """The stamps that a worker reports of the files that it imported."""
    return {file: FileStamp(*stamp) for file, stamp in files.items()}
