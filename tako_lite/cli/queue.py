"""What reading commands ask: the daemon, or the files of the project where none runs."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tako_lite.cli.options import chosen_config
from tako_lite.cli.output import note
from tako_lite.client import Client
from tako_lite.client.project import Project

if TYPE_CHECKING:
    from tako_lite.config import Config
    from tako_lite.records import Schedule

DOWN: Final = "no daemon is running; this is what the queue file holds"

Answer = dict[str, Any]


class Queue:
    """Answers the reading commands of the protocol in the same shapes, whether a daemon runs or not.

    Most of them the client reads from the file itself; those that it leaves to the daemon are read here.
    """

    def __init__(self) -> None:
        self.client = Client(chosen_config())
        self._project = Project(chosen_config())
        self._told = False

    @cached_property
    def config(self) -> Config:
        """The project's settings, read when they are first needed."""
        from tako_lite.config import load

        return load(chosen_config())

    def ask(self, command: str, **arguments: Any) -> Answer:
        """The answer to one command; where it comes from the file, stderr says so once."""
        if self._project.has_daemon():
            self._told = False
            return self.client.call(command, **arguments)
        if not self._told:
            note(DOWN)
            self._told = True
        if command == "workflows":
            return {"workflows": workflows(self.config)}
        if command == "schedules":
            return {"schedules": [schedule.as_json() for schedule in _schedules(self.config)]}
        if command == "why":
            return {"sentence": _sentence(self.client.call("get", **arguments)["run"])}
        return self.client.call(command, **arguments)


def workflows(config: Config) -> list[Answer]:
    """The workflows of the files, as the daemon lists them."""
    from tako_lite.catalog import scan

    catalog = scan(config.workflows_path, config.root)
    return [
        {
            "name": spec.name,
            "group": spec.group,
            "file": str(spec.file.relative_to(config.root)) if spec.file.is_relative_to(config.root) else str(spec.file),
            "line": spec.line,
            "schedule": spec.options.schedule,
            "retries": spec.options.retries,
        }
        for _, spec in sorted(catalog.workflows.items())
    ]


def _schedules(config: Config) -> list[Schedule]:
    """The stored schedules. The file keeps their last slots; when the next ones fire only a daemon can say."""
    if not config.queue.path.exists():
        return []
    import sqlite3
    from dataclasses import replace

    from tako_lite.store.sqlite.file import connect_reading, translate
    from tako_lite.store.sqlite.schedules import listed

    try:
        with closing(connect_reading(config.queue.path)) as connection:
            return [replace(schedule, next_at=None) for schedule in listed(connection)]
    except sqlite3.Error as error:
        raise translate(error, config.queue.path) from error


def _sentence(run: Answer) -> str:
    """Why a run is where it is, as far as its row tells."""
    state, error = run["state"], run["error"] or {}
    if state == "pending":
        return f"It is pending, due at {run['run_at']}, and starts when `tako-lite serve` does."
    if state == "running":
        return "It was running when the daemon ended; the next one gives it back to the queue, uncharged."
    if state == "waiting":
        waits = ", ".join(f"{wait['kind']} {wait['key'] or wait['wake_at'] or ''}".strip() for wait in run["waits"])
        return f"It waits for: {waits or 'a step'}."
    because = f": {error['message']}" if error.get("message") else ""
    return f"It ended {state} at {run['finished_at']}{because}"
