"""A client of the queue in a Litestar application, by a plugin. Needs `litestar` 2.23 or newer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from litestar.di import NamedDependency, Provide
from litestar.handlers import asgi
from litestar.plugins import CLIPlugin, InitPlugin

from tako_lite.client import AsyncClient, Client
from tako_lite.client.project import Project
from tako_lite.ext.daemon_child import DaemonChild, Serve, check_serve
from tako_lite.ext.passthrough import tako_command

if TYPE_CHECKING:
    import click
    from litestar import Litestar
    from litestar.config.app import AppConfig
    from litestar.types import Receive, Scope, Send
    from starlette.requests import Request

    from tako_lite.web.auth import Found


TakoDep: TypeAlias = NamedDependency[AsyncClient]
"""The dependency `tako` of an `async def` handler."""

BlockingTakoDep: TypeAlias = NamedDependency[Client]
"""The dependency `blocking_tako` of a plain `def` handler."""


class TakoPlugin(InitPlugin, CLIPlugin):
    """The queue of a project in an application: `Litestar(plugins=[TakoPlugin("tako.toml")])`.

    Handlers have the parameter `tako: TakoDep`, or `blocking_tako: BlockingTakoDep`. With `dashboard`, a path such
    as `/tako`, the dashboard is mounted there, and `user` says who a visitor is. `serve` is that of `tako_lite.ext.fastapi`.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        serve: Serve = "never",
        dashboard: str | None = None,
        user: Callable[[Request], Found] | None = None,
    ) -> None:
        check_serve(serve)
        self.config = config
        self._serve = serve
        self._path = dashboard
        self._user = user

    @cached_property
    def client(self) -> AsyncClient:
        """The client for `async def` handlers. Raises NoProject and ConfigError if there is no project."""
        return AsyncClient(self.config, source="app")

    @cached_property
    def blocking_client(self) -> Client:
        """The client for plain `def` handlers."""
        return Client(self.config, source="app")

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the dependencies, the lifespan and the dashboard to the application."""
        app_config.dependencies["tako"] = Provide(lambda: self.client, sync_to_thread=False)
        app_config.dependencies["blocking_tako"] = Provide(lambda: self.blocking_client, sync_to_thread=False)
        app_config.lifespan.append(self._lifespan)
        if self._path is not None:
            app_config.route_handlers.append(self._dashboard(self._path))
        return app_config

    def on_cli_init(self, cli: click.Group) -> None:
        """Add the command `litestar tako …`."""
        cli.add_command(tako_command(lambda: self.config))

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncIterator[None]:
        Project(self.config).config()
        daemon = DaemonChild(self.config)
        try:
            if self._serve == "dev":
                daemon.start()
            yield
        finally:
            await self.client.close()
            self.blocking_client.close()
            await daemon.stop()

    def _dashboard(self, path: str) -> Any:
        from tako_lite.web import app

        dashboard = app(self.config, user=self._user)

        @asgi(path, is_mount=True, copy_scope=True)
        async def tako_dashboard(scope: Scope, receive: Receive, send: Send) -> None:
            whole = unquote(scope["raw_path"].decode("ascii"))  # the plain path has been cut, and ends with a slash
            await dashboard({**scope, "path": whole, "root_path": path}, receive, send)

        return tako_dashboard
