"""One project as the dashboard sees it: what all requests share, and how a page becomes a reply."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tako_lite.client.project import Project
from tako_lite.clock import Clock, SystemClock
from tako_lite.config import Config
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import TakoError
from tako_lite.records import SCHEMA
from tako_lite.store.opening import Reader
from tako_lite.web.assets import fingerprint
from tako_lite.web.frame import make_frame
from tako_lite.web.live import Live, digest
from tako_lite.web.page import Page, Shown, Visit
from tako_lite.web.render import render
from tako_lite.web.rights import User
from tako_lite.web.urls import Urls

SAID: Final = "tako_said"
"""The cookie with what came of an action, which the next page shows once."""
T = TypeVar("T")

RENDERS: Final = 2
"""Pages that are made at the same time."""
CODES: Final = {2: 400, 4: 503, 5: 404}
"""HTTP status codes by the exit code that the command line has for an error; all others are 503."""

Redact = Callable[[str, Any], Any]
"""Gets `payload`, `result`, `error` or `value`, and a value, and returns what visitors may see of it."""


class Site:
    """A project, its reader and its connection to the daemon."""

    def __init__(
        self, config: Config, settings: WebSettings, *, clock: Clock | None = None, redact: Redact | None = None
    ) -> None:
        self.config = config
        self.settings = settings
        self.clock = clock or SystemClock()
        self.redact = redact
        self.project = Project(config.file or config.root)
        self.reader: Reader = config.queue.location.open_reader()
        self.live = Live(config.file or config.root)
        self._kept: dict[str, tuple[float, Any]] = {}
        self._limiters: weakref.WeakKeyDictionary[Any, anyio.CapacityLimiter] = weakref.WeakKeyDictionary()

    async def reply(self, page: Page, request: Request, user: User) -> Response:
        """The reply to a request for a page: 204 if the page is what the visitor has already, else HTML or JSON."""
        status = await self.live.status() if page.watches == "workers" else None
        return await anyio.to_thread.run_sync(self._reply, page, request, user, status, limiter=self._limiter())

    def kept(self, name: str, seconds: float, make: Callable[[], T]) -> T:
        """What a function made under this name within so many seconds, for what is too slow to be made for each page."""
        at, value = self._kept.get(name, (0.0, None))
        if not at or time.monotonic() - at > seconds:
            at, value = time.monotonic(), make()
            self._kept[name] = at, value
        found: T = value
        return found

    async def aclose(self) -> None:
        """Close the connections to the daemon and to the queue; the next request opens them again."""
        await self.live.client.close()
        await anyio.to_thread.run_sync(self.reader.close)

    def _limiter(self) -> anyio.CapacityLimiter:
        """The limiter of the running event loop: a WSGI server may use several."""
        return self._limiters.setdefault(asyncio.get_running_loop(), anyio.CapacityLimiter(RENDERS))

    def _reply(self, page: Page, request: Request, user: User, status: Any, /) -> Response:
        visit = Visit(
            site=self,
            user=user,
            urls=Urls(request.scope["tako.base"]),
            path=request.path_params,
            query=request.query_params,
            here=here(request),
            now=self.clock.now(),
            status=status,
        )
        as_json = wants_json(request)
        if as_json:
            return self._json(page, visit)
        version = self._version(page, visit)
        if version is not None and request.headers.get("tako-seen") == version:
            return Response(status_code=204, headers=self._headers(version))
        shown, frame = self._shown(page, visit), make_frame(visit, page)
        if shown.location is not None:
            return RedirectResponse(shown.location, 303)
        live, said = "tako-live" in request.headers, unquote(request.cookies.get(SAID, ""))
        html = render(shown, frame, visit, version=version or "", live=live, said=said)
        reply = Response(html, shown.code, self._headers(version), "text/html; charset=utf-8")
        if said and not live:
            reply.delete_cookie(SAID, path=visit.urls.base or "/", httponly=True, samesite="strict")
        return reply

    def _shown(self, page: Page, visit: Visit) -> Shown:
        """What a page shows, which for an error is its text."""
        try:
            return page.show(visit)
        except TakoError as error:
            return Shown("error.html", "Error", {"error": error.as_json()}, {"error": error}, code_of(error))

    def _json(self, page: Page, visit: Visit) -> Response:
        shown = self._shown(page, visit)
        if shown.location is not None:
            return RedirectResponse(shown.location, 303)
        text = json.dumps({"schema": SCHEMA, **shown.document}, ensure_ascii=False)
        return Response(text, shown.code, media_type="application/json")

    def _version(self, page: Page, visit: Visit) -> str | None:
        """A text that changes with what a page shows; None if it cannot be determined."""
        if page.watches == "nothing":
            return None
        try:
            seen: list[object] = [
                self.reader.version(),
                str(visit.daemon),
                digest(visit.status),
                visit.now // (page.clock * 1000),
            ]
            if page.mark is not None:
                seen.append(page.mark(visit))
        except TakoError:
            return None
        return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()

    def _headers(self, version: str | None) -> dict[str, str]:
        return {"Tako-Version": version or "", "Tako-Assets": fingerprint(), "Vary": "Accept, Tako-Live"}


def here(request: Request) -> str:
    """The address of the requested page, below whatever path the dashboard is served at."""
    path = request.scope["path"].removeprefix(request.scope["root_path"])
    query = request.scope["query_string"].decode("latin-1")
    return f"{request.scope['tako.base']}{quote(path)}{'?' if query else ''}{query}"


def wants_json(request: Request) -> bool:
    """Whether a program asks: its Accept header prefers JSON to HTML."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def code_of(error: TakoError) -> int:
    """The HTTP status code of an error."""
    return CODES.get(error.exit_code, 503)
