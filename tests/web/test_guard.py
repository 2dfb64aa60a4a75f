"""What every request passes before a page sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tako_lite.web.guard import MAX_ADDRESS, MAX_BODY
from tako_lite.web.urls import Urls
from tests.support.project import Project
from tests.support.web import Dashboard, dashboard_of

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def named(shop: Project) -> Iterator[Dashboard]:
    with dashboard_of(shop.root, hosts=("jobs.example.com", "*.internal")) as made:
        yield made


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8256",
        "127.0.0.1:1",
        "[::1]:8256",
        "192.168.3.4",
        "shop.localhost",
        "jobs.example.com:80",
        "a.internal",
    ],
)
def test_known_hosts_are_served(named: Dashboard, host: str) -> None:
    assert named.get("/-/health", host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "jobs.example.com.evil", "internal", "127.0.0.1.nip.io", "", "[::1"]
)
def test_other_hosts_are_refused_with_the_line_that_would_allow_them(named: Dashboard, host: str) -> None:
    reply = named.get("/runs", host=host)
    assert reply.status_code == 421
    assert "[web]\nhosts = [" in reply.text
    assert "content-security-policy" in reply.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://localhost:8256"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
    ],
)
def test_forms_of_other_sites_are_refused(web: Dashboard, headers: dict[str, str]) -> None:
    assert web.request("POST", "/runs", headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [SAME_ORIGIN, {"sec-fetch-site": "none"}, {"origin": "http://localhost:8256"}, {}])
def test_forms_of_the_dashboard_and_programs_are_let_through(web: Dashboard, headers: dict[str, str]) -> None:
    assert web.request("POST", "/runs", headers=headers).status_code == 405


def test_links_from_other_sites_open_pages(web: Dashboard) -> None:
    assert web.get("/runs", **{"sec-fetch-site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/-/health", "/-/project"])
def test_every_reply_has_the_security_headers(web: Dashboard, path: str) -> None:
    headers = web.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == headers["cross-origin-opener-policy"] == "same-origin"


def test_bodies_and_addresses_have_limits(web: Dashboard) -> None:
    assert web.request("POST", "/do/cancel", content=b"x" * (MAX_BODY + 1), headers=SAME_ORIGIN).status_code == 413
    assert web.get(f"/runs?q={'x' * MAX_ADDRESS}").status_code == 414


def test_below_a_base_path_every_address_begins_with_it(shop: Project) -> None:
    with dashboard_of(shop.root, base_path="/a/b") as based:
        waiting, ahead = set(), ["/a/b/"]
        while ahead:
            path = ahead.pop()
            waiting.add(path)
            html = based.page(path)
            found = re.findall(r'(?:href|src|action)="(/[^"#]*)', html)
            links = re.findall(r'<a[^>]* href="(/[^"#]*)', html)
            assert [address for address in found if not address.startswith("/a/b/")] == []
            ahead += {link.replace("&amp;", "&") for link in links if "before=" not in link} - waiting - set(ahead)
        assert len(waiting) > 5
        assert based.get("/runs").status_code == based.get("/a/bc").status_code == 404


def test_a_forwarded_prefix_counts_only_from_a_trusted_proxy(shop: Project) -> None:
    prefix = {"x-forwarded-prefix": "/jobs"}
    with dashboard_of(shop.root, trusted_proxies=("127.0.0.1",)) as trusting:
        assert 'href="/jobs/runs"' in trusting.get("/", **prefix).text
        assert 'href="/runs"' in trusting.get("/", **{"x-forwarded-prefix": "//evil.example"}).text
    with dashboard_of(shop.root, trusted_proxies=("10.0.0.0/8", "unix")) as wary:
        assert 'href="/runs"' in wary.get("/", **prefix).text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/t/runs?state=dead", "/t/runs?state=dead"),
        ("/t/", "/t/"),
        (None, "/t/"),
        ("/runs", "/t/"),
        ("//evil.example/t/", "/t/"),
        ("/t//evil.example", "/t/"),
        ("/t/\\evil.example", "/t/"),
        ("/\\evil.example", "/t/"),
        ("https://evil.example/t/", "/t/"),
        ("/t/../evil", "/t/"),
        ("/t/\nSet-Cookie: a", "/t/"),
    ],
)
def test_the_next_page_is_always_one_of_the_dashboard(address: str | None, expected: str) -> None:
    assert Urls("/t").within(address) == expected


@pytest.mark.parametrize("address", ["//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", ""])
def test_the_next_page_at_the_root_leads_to_no_other_host(address: str) -> None:
    assert Urls("").within(address) == "/"
