"""The commands about groups: pause, resume, scale, and moving their runs."""

from __future__ import annotations

from typing import Any, Protocol

from tako_lite.answers import check_scale
from tako_lite.daemon.events import Events
from tako_lite.processes.group import Group
from tako_lite.protocol.arguments import MoveGroup, OneGroup, PauseGroup, Scale
from tako_lite.protocol.commands import Handler
from tako_lite.routing import check_group
from tako_lite.store.base import Store


class GroupHost(Protocol):
    """The members of the daemon that the commands about groups use."""

    store: Store
    events: Events

    def group_names(self) -> set[str]: ...
    def ensure_group(self, name: str) -> Group: ...
    def serves(self, group: str) -> bool: ...
    def clear_pending_work(self, group: str) -> None: ...
    def release_ahead(self, group: str) -> None: ...


class GroupCommands:
    """The handlers of the commands about groups."""

    def __init__(self, host: GroupHost) -> None:
        self._host = host

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"pause": self._pause, "resume": self._resume, "scale": self._scale, "move_group": self._move_group}

    async def _pause(self, request: PauseGroup) -> dict[str, Any]:
        group = self._group(request.group)
        self._host.release_ahead(request.group)
        await self._host.store.pause_group(request.group, True)
        if group is not None:
            group.pause(True)
        return {}

    async def _resume(self, request: OneGroup) -> dict[str, Any]:
        group = self._group(request.group)
        if (
            group is not None and group.paused
        ):  # the commit reports what is due: some of it may have been cancelled during the pause
            self._host.clear_pending_work(request.group)
        await self._host.store.pause_group(request.group, False)
        if group is not None:
            group.pause(False)
        return {}

    async def _scale(self, request: Scale) -> dict[str, Any]:
        check_scale(request.workers)
        group = self._group(request.group)
        await self._host.store.scale_group(request.group, request.workers)
        if group is not None:
            group.resize(request.workers)
        return {}

    async def _move_group(self, request: MoveGroup) -> dict[str, Any]:
        """Move the runs of a group to another, if one is given; the overrides of a group that no file names are deleted."""
        host = self._host
        moved = 0
        if request.to is not None:
            self._group(request.to)
            moved = await host.store.move_runs(request.group, request.to)
            host.events.moved(request.group, request.to, moved)
        if request.group not in host.group_names():
            await host.store.forget_group(request.group)
            if host.serves(request.group):
                if (group := host.ensure_group(request.group)).paused:
                    group.pause(False)
                group.resize(None)
        return {"moved": moved}

    def _group(self, name: str) -> Group | None:
        """The group of this name, None if only other servers serve it. Raises NotFound."""
        check_group(name, self._host.group_names())
        return self._host.ensure_group(name) if self._host.serves(name) else None
