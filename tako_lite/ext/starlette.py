"""A client of the queue in a Starlette application, opened and closed with it. Needs `starlette`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio.to_thread
from starlette.requests import HTTPConnection, Request

from tako_lite.client import AsyncClient, Client
from tako_lite.client.project import Project
from tako_lite.errors import TakoError
from tako_lite.ext.daemon_child import DaemonChild, Serve, check_serve

if TYPE_CHECKING:
    from tako_lite.web.application import WebApp
    from tako_lite.web.auth import Found

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


class Tako:
    """The queue of a project in an application: `Starlette(lifespan=Tako("tako.toml").lifespan)`.

    `config` is that of `Client`. `lifespan` is the application's own, which begins after this one and ends before it. With
    `serve="dev"` a daemon starts and ends with the application, unless another one serves the queue.
    """

    def __init__(self, config: str | Path | None = None, *, lifespan: Lifespan | None = None, serve: Serve = "never") -> None:
        check_serve(serve)
        self.config = config
        self._inner = lifespan
        self._serve = serve
        self._dashboards: list[WebApp] = []

    @cached_property
    def client(self) -> AsyncClient:
        """The client for `async def` code. Raises NoProject and ConfigError if there is no project."""
        return AsyncClient(self.config, source="app")

    @cached_property
    def blocking_client(self) -> Client:
        """The client for plain `def` code."""
        return Client(self.config, source="app")

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, Any]]:
        """The lifespan of the application. Raises NoProject and ConfigError when it starts.

        The state that it yields has `tako`, this object, so requests find it as `request.state.tako`.
        """
        await anyio.to_thread.run_sync(Project(self.config).config)
        app.state.tako = self
        daemon = DaemonChild(self.config)
        try:
            if self._serve == "dev":
                daemon.start()
            if self._inner is None:
                yield {"tako": self}
            else:
                async with self._inner(app) as state:
                    yield {**(state or {}), "tako": self}
        finally:
            for dashboard in self._dashboards:
                await dashboard.aclose()
            await self.client.close()
            self.blocking_client.close()
            await daemon.stop()

    def dashboard(self, *, user: Callable[[Request], Found] | None = None, **settings: Any) -> WebApp:
        """The dashboard of the project, to be mounted. See `tako_lite.web.app`; it closes with the application."""
        from tako_lite.web import app

        made = app(self.config, user=user, **settings)
        self._dashboards.append(made)
        return made


def tako_of(connection: HTTPConnection) -> Tako:
    """The `Tako` of the application that serves a request. Raises TakoError if it has none."""
    found = connection.scope.get("state", {}).get("tako") or getattr(connection.app.state, "tako", None)
    if not isinstance(found, Tako):
        raise TakoError(
            "the application has no client of tako-lite",
            hint="give it the lifespan, FastAPI(lifespan=Tako(…).lifespan); in a test, enter `with TestClient(app)`",
        )
    return found


def get_client(connection: HTTPConnection) -> AsyncClient:
    """The client for `async def` endpoints."""
    return tako_of(connection).client


def get_blocking_client(connection: HTTPConnection) -> Client:
    """The client for plain `def` endpoints."""
    return tako_of(connection).blocking_client
