"""The application: pages, assets and the addresses of programs, behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tako_lite import __version__
from tako_lite.config import Config, load
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import NotFound
from tako_lite.web.assets import serve_asset
from tako_lite.web.auth import Auth, Found, HostAuth, auth_of
from tako_lite.web.doing import Doing
from tako_lite.web.guard import Guard
from tako_lite.web.page import Page, Shown, Visit
from tako_lite.web.routes import pages
from tako_lite.web.site import Redact, Site


class WebApp:
    """The dashboard of a project as an ASGI application."""

    def __init__(self, site: Site, application: ASGIApp) -> None:
        self.site = site
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)

    async def aclose(self) -> None:
        """Close the connections to the daemon and to the queue; the next request opens them again."""
        await self.site.aclose()


def app(
    project: str | Path | None = None,
    *,
    user: Callable[[Request], Found] | None = None,
    redact: Redact | None = None,
    **settings: Any,
) -> WebApp:
    """The dashboard of a project as an ASGI application, to be mounted in another one.

    `user` says who a visitor is, at once or as a coroutine; without it, `auth` of `[web]` holds. `redact` gets `payload`,
    `result`, `error` or `value`, and the value, and returns what visitors see. Further keywords replace settings of `[web]`.
    Raises ConfigError.
    """
    config = load(project)
    chosen = replace(config.web, **settings)
    return build(config, chosen, HostAuth(user, chosen) if user else auth_of(chosen, config.state_dir), redact)


def build(config: Config, settings: WebSettings, auth: Auth, redact: Redact | None = None) -> WebApp:
    """The application of a project with these settings."""
    site = Site(config, settings, redact=redact)
    routes: list[BaseRoute] = [Route(page.path, _endpoint(site, page, auth)) for page in pages()]
    routes += [
        Route("/do/{action}", _do(site, auth), methods=["POST"]),
        Route("/-/assets/{hash}/{name}", serve_asset),
        Route("/-/health", _health),
        Route("/-/project", _project_of(config)),
        Route("/{rest:path}", _endpoint(site, NO_PAGE, auth)),
    ]
    inner = Starlette(routes=routes)
    return WebApp(site, Guard(inner, hosts=settings.hosts, base_path=settings.base_path, trusted=settings.trusted_proxies))


def _endpoint(site: Site, page: Page, auth: Auth) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        user = await auth.identify(request)
        if isinstance(user, Response):
            return user
        if page.right is not None and not user.can(page.right):
            return PlainTextResponse(f"You have no right to see this page ({page.right}).\n", 403)
        return await site.reply(page, request, user)

    return endpoint


def _do(site: Site, auth: Auth) -> Callable[[Request], Any]:
    doing = Doing(site)

    async def endpoint(request: Request) -> Response:
        user = await auth.identify(request)
        return user if isinstance(user, Response) else await doing.reply(request, user)

    return endpoint


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _project_of(config: Config) -> Callable[[Request], Any]:
    """How another `tako-lite web` learns who has the port."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse({"project": config.name, "root": str(config.root), "version": __version__})

    return endpoint


def _nothing(visit: Visit) -> Shown:
    raise NotFound("there is no such page", hint="the links above lead to all pages")


NO_PAGE = Page("/{rest:path}", _nothing, watches="nothing")
