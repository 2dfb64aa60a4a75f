"""What reading commands ask: the daemon, or the files of the project where none runs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tako_lite.cli.options import chosen_config, note_beside_answer
from tako_lite.client import Client
from tako_lite.client.project import Project

if TYPE_CHECKING:
    from tako_lite.config import Config

DOWN: Final = "no daemon is running; this is what the queue file holds"

Answer = dict[str, Any]


class Queue:
    """A client for reading commands, which says so where the answer comes from the files."""

    def __init__(self) -> None:
        self.client = Client(chosen_config())
        self._project = Project(chosen_config())
        self._told = False

    @cached_property
    def config(self) -> Config:
        """The project's settings, read when they are first needed."""
        return self._project.config()

    @property
    def state_dir(self) -> Path:
        """The project's own folder, whatever its tako.toml says."""
        return self._project.state_dir

    def ask(self, command: str, **arguments: Any) -> Answer:
        """The answer to one command; where it comes from the files, stderr says so once."""
        if self._project.has_daemon():
            self._told = False
        elif not self._told:
            note_beside_answer(DOWN)
            self._told = True
        return self.client.call(command, **arguments)
