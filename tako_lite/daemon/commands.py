"""Executes the commands of the control socket: finds the handler of each, and checks its arguments.

The part of the daemon that owns a subject registers the handlers of its commands; `protocol.commands` lists all commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from tako_lite.audit import SENDER, WORKER, Sender, entry
from tako_lite.daemon.edit_commands import EditCommands, EditHost
from tako_lite.daemon.group_commands import GroupCommands, GroupHost
from tako_lite.daemon.project_commands import ProjectCommands, ProjectHost
from tako_lite.daemon.run_commands import RunCommands, RunHost
from tako_lite.errors import BadInput, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.protocol.arguments import SHAPES
from tako_lite.protocol.commands import COMMANDS, Handler
from tako_lite.typed import converter

NAME_ARGUMENT: Final = {"unknown_workflow": "workflow", "unknown_schedule": "workflow", "unknown_trigger": "name"}
"""By the type of an error: the argument that names what a file may define that the daemon has not read yet."""


class CommandHost(RunHost, EditHost, GroupHost, ProjectHost, Protocol):
    """The members of the daemon that the commands use."""

    async def unread_hint(self, name: str) -> str | None: ...


class Commands:
    """The handlers of all commands: those about runs, groups and the project, and those that other parts register."""

    def __init__(self, host: CommandHost) -> None:
        self._host = host
        self._table: dict[str, tuple[Callable[[Any], Any], Handler, bool]] = {}
        runs = RunCommands(host)
        self.child = runs.child
        edits = EditCommands(host, runs.retry)
        self.bulk = edits.bulk
        for part in (runs, edits, GroupCommands(host), ProjectCommands(host)):
            self.register(part.handlers())

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """Add the handlers of one part of the daemon, by the names of their commands."""
        for name, handler in handlers.items():
            self._table[name] = converter(SHAPES[name], name), handler, COMMANDS[name].runs_to_completion

    async def execute(self, command: object, arguments: dict[str, Any], by: Sender = WORKER) -> dict[str, Any]:
        """Check the arguments of a command and run its handler. Raises BadInput, or the error of the handler.

        What people changed is stored in the activity before the answer.
        """
        known = self._table.get(command) if isinstance(command, str) else None
        if known is None:
            shown = str(command)[:60]
            raise BadInput(f"there is no command {shown!r}", hint=did_you_mean(shown, COMMANDS))
        read, handler, runs_to_completion = known
        typed = read(arguments)
        SENDER.set(by)
        work = handler(typed)
        try:
            answer = await (asyncio.shield(_run_to_completion(work)) if runs_to_completion else work)
            if (done := entry(str(command), typed, answer, by, self._host.clock.now())) is not None:
                await self._host.store.record_activity(done)
            return answer
        except NotFound as error:
            await self.hint_unread(error, typed)
            raise

    async def hint_unread(self, error: NotFound, arguments: object) -> None:
        """Have an error say so if a file that the daemon has not read yet defines the name that the arguments ask for."""
        if error.type in NAME_ARGUMENT:
            error.hint = await self._host.unread_hint(getattr(arguments, NAME_ARGUMENT[error.type], "")) or error.hint


def _run_to_completion(work: Awaitable[dict[str, Any]]) -> asyncio.Future[dict[str, Any]]:
    """Run a handler to its end, even when its client hangs up."""
    future = asyncio.ensure_future(work)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
