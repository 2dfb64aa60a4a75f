"""The commands about the project as a whole: status, workflows, reload, prune and backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from tako_lite.catalog import Catalog
from tako_lite.protocol.arguments import Backup, Nothing
from tako_lite.protocol.commands import Handler
from tako_lite.store.base import Store


class ProjectHost(Protocol):
    """The members of the daemon that the commands about the project use."""

    catalog: Catalog
    store: Store

    async def status(self) -> dict[str, Any]: ...
    async def reload(self) -> dict[str, Any]: ...
    async def prune(self) -> dict[str, int]: ...


class ProjectCommands:
    """The handlers of the commands about the project."""

    def __init__(self, host: ProjectHost) -> None:
        self._host = host

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {
            "status": self._status,
            "workflows": self._workflows,
            "reload": self._reload,
            "prune": self._prune,
            "backup": self._backup,
        }

    async def _status(self, _: Nothing) -> dict[str, Any]:
        return await self._host.status()

    async def _workflows(self, _: Nothing) -> dict[str, Any]:
        return {"workflows": self._host.catalog.as_json()}

    async def _reload(self, _: Nothing) -> dict[str, Any]:
        return await self._host.reload()

    async def _prune(self, _: Nothing) -> dict[str, Any]:
        return {"pruned": await self._host.prune()}

    async def _backup(self, request: Backup) -> dict[str, Any]:
        return {"file": request.file, "bytes": await self._host.store.back_up(Path(request.file))}
