"""The dashboard inside of another application."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from a2wsgi import ASGIMiddleware
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tako_lite.web import User, app
from tests.support.project import Project

BOSS = User("boss")
Get = Callable[[str], httpx.Response]


def signed_in(request: Request) -> User | None:
    return BOSS if request.headers.get("x-session") == "boss" else None


@contextmanager
def asked(application: ASGIApp, dashboard: Any) -> Iterator[httpx.AsyncClient]:
    with start_blocking_portal() as portal:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url="http://localhost", headers={"x-session": "boss"}
        )
        client.portal = portal  # type: ignore[attr-defined]
        yield client
        portal.call(client.aclose)
        portal.call(dashboard.aclose)


def request(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        return await client.request(method, path, **options)

    reply: httpx.Response = client.portal.call(send)  # type: ignore[attr-defined]
    return reply


def in_starlette(dashboard: ASGIApp) -> ASGIApp:
    """As in FastAPI, whose `mount` is this one."""

    def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse("home")

    return Starlette(routes=[Route("/", home), Mount("/tako", dashboard)])


def beside_django(dashboard: ASGIApp) -> ASGIApp:
    """As in an `asgi.py` that asks Django for everything else."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/tako/"):
            await dashboard({**scope, "root_path": "/tako"}, receive, send)
        else:
            await PlainTextResponse("home")(scope, receive, send)

    return application


@pytest.mark.parametrize("mount", [in_starlette, beside_django])
def test_a_mounted_dashboard_has_the_hosts_visitors_and_keeps_within_its_path(
    shop: Project, mount: Callable[[ASGIApp], ASGIApp]
) -> None:
    dashboard = app(shop.root, user=signed_in)
    with asked(mount(dashboard), dashboard) as client:
        assert request(client, "GET", "/").text == "home"
        assert request(client, "GET", "/tako/runs", headers={"x-session": "nobody"}).status_code == 403
        html = request(client, "GET", "/tako/runs").text
        found = set(re.findall(r'(?:href|src|action)="(/[^"#]*)', html))
        assert len(found) > 10
        assert {address for address in found if not address.startswith("/tako/")} == set()
        assert all(request(client, "GET", address).status_code == 200 for address in found if "/-/assets/" in address)
        paused = request(client, "POST", "/tako/do/pause", data={"target": "io", "next": "/tako/groups/io"})
        assert (paused.status_code, paused.headers["location"]) == (303, "/tako/groups/io")
        assert shop.group("io")["state"] == "paused"
        request(client, "POST", "/tako/do/resume", data={"target": "io"})
        entry = shop.call("activity")["activity"][0]
        assert (entry["actor"], entry["source"], entry["action"], entry["target"]) == ("boss", "web", "resume", "io")


def test_values_can_be_redacted_by_the_application(shop: Project) -> None:
    def redact(kind: str, value: Any) -> Any:
        return {"kind": kind}

    dashboard = app(shop.root, user=signed_in, redact=redact)
    with asked(dashboard, dashboard) as client:
        run = request(client, "GET", "/runs?workflow=order", headers={"accept": "application/json"}).json()["runs"][0]
        assert run["payload"] == {"kind": "payload"}


def test_hidden_payloads_show_their_keys_only(shop: Project) -> None:
    dashboard = app(shop.root, user=signed_in, payloads="hide")
    with asked(dashboard, dashboard) as client:
        run = request(client, "GET", "/runs?workflow=order", headers={"accept": "application/json"}).json()["runs"][0]
        assert run["payload"] == {"number": "number", "to": "text"}


def test_a_wsgi_application_mounts_it_through_a_bridge(shop: Project) -> None:
    """As in Flask, with werkzeug's `DispatcherMiddleware`."""
    dashboard = app(shop.root, user=lambda request: BOSS)
    bridge = ASGIMiddleware(dashboard)  # type: ignore[arg-type]
    replies: list[tuple[str, dict[str, str]]] = []

    def get(path: str) -> str:
        environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "/tako",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
        }
        body = bridge(environ, lambda status, headers, *_: replies.append((status, dict(headers))))  # type: ignore[arg-type]
        return b"".join(body).decode()

    html = get("/runs")
    assert replies[0][0].startswith("200")
    assert "content-security-policy" in {name.lower() for name in replies[0][1]}
    assert 'href="/tako/groups"' in html
    assert "default" in get("/groups")
