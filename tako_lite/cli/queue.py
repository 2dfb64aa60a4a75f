"""How commands read: from the daemon or, if none is running, from the queue itself."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tako_lite.cli.options import chosen_config, note_beside_answer
from tako_lite.client import Client
from tako_lite.client.project import Project

if TYPE_CHECKING:
    from tako_lite.config import Config

DOWN: Final = "no daemon is running; showing what the {} contains"

Answer = dict[str, Any]


class QueueReader:
    """A client for reading commands; it notes on stderr if the queue itself or the daemon of another folder answers."""

    def __init__(self) -> None:
        self.client = Client(chosen_config(), source="cli")
        self._project = Project(chosen_config())
        self._noted: str | None = None

    @cached_property
    def config(self) -> Config:
        """The project's settings, read on first use."""
        return self._project.config()

    @property
    def state_dir(self) -> Path:
        """The state folder of the daemon that serves the queue: the project's own, or that of another folder."""
        return self._project.serving_dir()

    def ask(self, command: str, **arguments: Any) -> Answer:
        """Send one command and return the answer; an unusual source is noted on stderr once."""
        if (state := self._state()) != self._noted and state is not None:
            note_beside_answer(state)
        self._noted = state
        return self.client.call(command, **arguments)

    def _state(self) -> str | None:
        """The note about an unusual source of the answer, or None."""
        if not self._project.has_daemon():
            location = self.config.queue.location
            return DOWN.format(location.noun) if location.is_file else None
        other = self._project.other_holder()
        return other and f"a daemon in another folder serves this queue: {other.root} (pid {other.pid})"
