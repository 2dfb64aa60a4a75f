"""What pages show, and how they stay current."""

from __future__ import annotations

import re

from tests.support.project import Project, wait_until
from tests.support.web import Dashboard, text_of


def test_the_overview_shows_what_needs_a_person_and_each_group(web: Dashboard) -> None:
    html = web.page("/")
    assert "<title>(1 dead) Overview · test</title>" in html
    assert "1 died of ValueError in 24 h" in text_of(html)
    assert {"default", "io"} <= set(re.findall(r'id="group-([^"]+)"', html))


def test_the_list_shows_each_run_once_with_its_state(shop: Project, web: Dashboard) -> None:
    html = web.page("/runs")
    ids = re.findall(r'<tr id="run-([^"]+)"', html)
    assert sorted(ids) == sorted(run["id"] for run in web.json("/runs")["runs"])
    assert {"succeeded", "dead", "waiting", "scheduled"} <= set(text_of(html).split())


def test_text_from_users_is_escaped(web: Dashboard) -> None:
    html = web.page("/runs?workflow=fails")
    assert "no &lt;b&gt;&lt;script&gt;&lt;/b&gt;" in html
    assert "<b>&lt;script" not in html


def test_a_run_shows_why_it_waits_and_its_steps(web: Dashboard) -> None:
    id = web.json("/runs?workflow=order")["runs"][0]["id"]
    text = text_of(web.page(f"/runs/{id}"))
    assert "It waits for the signal &#39;approval:7&#39;, and uses no slot meanwhile." in text
    assert "reserve" in text
    assert "1 of 2" in text  # as `tako-lite show` counts: the attempt that is parked has begun


def test_an_unknown_run_or_page_is_not_found_and_says_so(web: Dashboard) -> None:
    for path in ("/runs/00000000", "/nothing"):
        reply = web.get(path)
        assert reply.status_code == 404
        assert "Not found" in text_of(reply.text)


def test_nothing_is_sent_again_while_nothing_happens(shop: Project, web: Dashboard) -> None:
    def version_that_stays() -> str | None:
        """The version of the page, unless the daemon stores something between two requests."""
        seen = str(web.get("/runs").headers["tako-version"])
        same = web.get("/runs", **{"tako-seen": seen, "tako-live": "1"})
        return seen if (same.status_code, same.content) == (204, b"") else None

    seen = wait_until(version_that_stays, "nothing is sent again", 5)
    shop.run("adds", [1])
    changed = web.get("/runs", **{"tako-seen": seen, "tako-live": "1"})
    assert changed.status_code == 200
    assert changed.headers["tako-version"] != seen
    assert '<main id="main"' in changed.text
    assert "<script" not in changed.text, "a page that is open gets its live parts only"


def test_the_overview_says_what_happens_next(shop: Project, web: Dashboard) -> None:
    id = web.json("/runs?state=scheduled")["runs"][0]["id"]
    html = web.page("/")
    assert re.search(rf'<a href="/runs/{id}">adds</a> due <time', html)
