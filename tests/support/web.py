"""The dashboard of a project, asked in this process: no socket and no browser in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tako_lite.web import app

HOST = "http://localhost:8256"
JSON = {"accept": "application/json"}


class Dashboard:
    """The application of a project behind an HTTP client. Redirects are not followed."""

    def __init__(self, portal: BlockingPortal, root: Path, **settings: Any) -> None:
        self._portal = portal
        self.app = app(root, **{"auth": "none", **settings})
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=HOST)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The reply to a request."""

        async def send() -> httpx.Response:
            return await self.client.request(method, path, **options)

        return self._portal.call(send)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """The reply to a GET."""
        return self.request("GET", path, headers=headers)

    def page(self, path: str) -> str:
        """The HTML of a page that is shown."""
        reply = self.get(path)
        assert reply.status_code == 200, reply.text
        return reply.text

    def json(self, path: str) -> dict[str, Any]:
        """The twin of a page as JSON."""
        reply = self.get(path, **JSON)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def post(self, path: str, data: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """The reply to a form that a page of the dashboard sends."""
        return self.request("POST", path, data=data or {}, headers={"sec-fetch-site": "same-origin", **headers})


@contextmanager
def dashboard_of(root: Path, **settings: Any) -> Iterator[Dashboard]:
    """A dashboard without authentication, unless the settings choose another one."""
    with start_blocking_portal() as portal:
        made = Dashboard(portal, root, **settings)
        yield made
        portal.call(made.client.aclose)
        portal.call(made.app.aclose)


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())
