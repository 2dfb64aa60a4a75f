"""Who may see the dashboard."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from starlette.requests import Request

from tako_lite.secrets import SecretSource
from tako_lite.web import User, auth
from tests.support.project import Project
from tests.support.web import JSON, dashboard_of

PROXY = {"auth": "proxy", "proxy_header": "X-User"}


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def test_a_token_in_the_address_becomes_a_cookie(live: Project) -> None:
    with dashboard_of(live.root, auth="token", base_path="/t") as web:
        assert web.get("/t/runs").status_code == 401
        assert web.get("/t/runs?token=wrong").status_code == 401
        token = auth.read_token(live.root / ".tako")
        reply = web.get(f"/t/runs?state=dead&token={token}")
        assert (reply.status_code, reply.headers["location"]) == (303, "/t/runs?state=dead")
        cookie = reply.headers["set-cookie"]
        assert {"HttpOnly", "Path=/t", "SameSite=strict"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert web.page("/t/runs"), "the client kept the cookie"


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    first = auth.read_token(tmp_path / "state")
    assert auth.read_token(tmp_path / "state") == first
    assert len(first) >= 43
    assert stat.S_IMODE((tmp_path / "state/web-token").stat().st_mode) == 0o600


def test_programs_send_the_token_as_a_bearer(live: Project) -> None:
    with dashboard_of(live.root, auth="token") as web:
        token = auth.read_token(live.root / ".tako")
        assert web.get("/runs", authorization=f"Bearer {token}").status_code == 200
        assert web.get("/runs", authorization="Bearer ").status_code == 401
        assert web.get("/-/health").text == "ok\n"


def test_a_password_lets_in_and_wrong_ones_are_slow_and_few(live: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKO_WEB_PASSWORD", "sesame")
    monkeypatch.setattr(auth, "PENALTY", 0.0)
    with dashboard_of(live.root, auth="basic", password=SecretSource("env", "TAKO_WEB_PASSWORD")) as web:
        refused = web.get("/")
        assert (refused.status_code, refused.headers["www-authenticate"][:5]) == (401, "Basic")
        assert web.get("/", **basic("ann", "sesame")).status_code == 200
        assert {web.get("/", **basic("ann", "open")).status_code for _ in range(auth.FAILURES)} == {401}
        assert web.get("/", **basic("ann", "sesame")).status_code == 429


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YW5u", "Digest x"])
def test_malformed_credentials_are_refused(live: Project, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    monkeypatch.setenv("TAKO_WEB_PASSWORD", "sesame")
    monkeypatch.setattr(auth, "PENALTY", 0.0)
    with dashboard_of(live.root, auth="basic", password=SecretSource("env", "TAKO_WEB_PASSWORD")) as web:
        assert web.get("/", authorization=header).status_code == 401


def test_the_header_of_a_proxy_counts_only_from_a_trusted_one(live: Project) -> None:
    with dashboard_of(live.root, **PROXY, trusted_proxies=("127.0.0.0/8",)) as web:
        assert web.get("/", **{"x-user": "ann"}).status_code == 200
        assert web.get("/", **{"x-user": " "}).status_code == web.get("/").status_code == 401
    with dashboard_of(live.root, **PROXY, trusted_proxies=("10.0.0.1",)) as web:
        assert web.get("/", **{"x-user": "ann"}).status_code == 401


def test_the_application_that_mounts_the_dashboard_says_who_the_visitor_is(live: Project) -> None:
    def resolve(request: Request) -> User | None:
        name = request.headers.get("x-session")
        return User(name, frozenset({"retry"})) if name else None

    with dashboard_of(live.root, user=resolve) as web:
        assert web.get("/").status_code == 403
        assert web.get("/", **{"x-session": "ann"}).status_code == 200


def test_without_the_right_to_see_payloads_they_are_on_no_page(shop: Project) -> None:
    with dashboard_of(shop.root, may=("retry",)) as web:
        id = web.json("/runs?workflow=order")["runs"][0]["id"]
        for path in ("/runs", f"/runs/{id}"):
            assert "&#34;to&#34;" not in web.page(path)
            assert '"to"' not in web.get(path, **JSON).text
