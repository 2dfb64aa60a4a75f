"""The guard thread: sends the heartbeat of a busy worker, and ends the worker when the daemon is gone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import threading
from collections.abc import Callable
from typing import Final

from tako_lite.linux import boottime, kill_session
from tako_lite.protocol.worker import ASK_IN_FLIGHT, MOST_IN_FLIGHT, InFlight

_UNTIL: Final = re.compile(rb"u([0-9.]+)\n")
LONGEST_SLEEP: Final = 2.0
"""Seconds; the clock of poll(2) stands still while the machine is suspended."""


class Guard:
    """Watches a socket whose other end only the daemon holds, in a thread of its own, so that no handler can block it.

    An idle worker sends no heartbeat: the thread sleeps until `busy` is called. `beat` is the pause in seconds between two
    heartbeats of a busy worker; `on_beat` is called with each. `in_flight` names the steps under way, for the daemon.
    """

    def __init__(
        self,
        descriptor: int,
        beat: float,
        is_busy: Callable[[], bool],
        on_beat: Callable[[], None],
        in_flight: Callable[[], list[InFlight]],
    ) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._beat_every = beat
        self._is_busy = is_busy
        self._on_beat = on_beat
        self._in_flight = in_flight
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._asleep = False
        self._until: float | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="tako-guard", daemon=True).start()

    def busy(self) -> None:
        """Send heartbeats again, because there is work."""
        if self._asleep:
            self._asleep = False
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        watched = select.poll()
        watched.register(self._socket, select.POLLIN)
        watched.register(self._wake_read, select.POLLIN)
        while True:
            events = watched.poll(self._longest_wait())
            if self._until is not None and boottime() >= self._until:
                _end()
            for descriptor, _ in events:
                if descriptor == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._asleep = False  # the work may have come just before the thread fell asleep
                elif not self._listen():
                    _end()
            if not events and not self._asleep and not self._beat():
                self._asleep = (
                    True  # set before the last check, so that this thread or `busy` notices work that comes meanwhile
                )
                self._asleep = not self._is_busy()

    def _longest_wait(self) -> float | None:
        """Milliseconds until it must look again; None for as long as nothing happens."""
        if self._until is None:
            return None if self._asleep else self._beat_every * 1000
        left = min(max(self._until - boottime(), 0.0), LONGEST_SLEEP)
        return (left if self._asleep else min(left, self._beat_every)) * 1000

    def _listen(self) -> bool:
        try:
            data = self._socket.recv(4096)
        except OSError:
            return False
        for found in _UNTIL.finditer(data):
            self._until = float(found[1])
        if ASK_IN_FLIGHT in data:
            with contextlib.suppress(Exception):  # nothing may end this thread
                self._socket.sendall(json.dumps(self._in_flight()[:MOST_IN_FLIGHT]).encode() + b"\n")
        return bool(data)

    def _beat(self) -> bool:
        """Send a heartbeat if there is work; returns whether there is."""
        if not self._is_busy():
            return False
        with contextlib.suppress(OSError):  # full or closed: the next poll shows which
            self._socket.send(b".", socket.MSG_DONTWAIT)
        with contextlib.suppress(Exception):  # nothing may end this thread
            self._on_beat()
        return True


def _end() -> None:
    """End the worker and everything that it started."""
    kill_session(os.getpid())
    os._exit(1)
