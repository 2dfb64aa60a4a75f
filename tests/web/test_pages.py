"""What pages show, and how they stay current."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import tako_lite.web
from tako_lite.records import new_id
from tako_lite.web.routes.workflows import Ended
from tako_lite.web.search import WORDS
from tests.support.project import Project, wait_until
from tests.support.web import Dashboard, text_of


def test_the_overview_shows_what_needs_a_person_and_each_group(web: Dashboard) -> None:
    html = web.page("/")
    assert "<title>(1 dead) Overview · test</title>" in html
    assert "1 run died of ValueError in 24 h" in text_of(html)
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


@pytest.mark.sqlite
def test_pages_that_are_read_all_the_time_do_not_keep_the_log_of_the_queue_from_being_emptied(
    shop: Project, web: Dashboard
) -> None:
    written = 0
    ended = threading.Event()
    pages = [
        threading.Thread(target=_reads, args=(web, path, ended)) for path in ("/", "/runs", "/errors", "/groups", "/workflows")
    ]
    for page in pages:
        page.start()
    try:
        for _ in range(8):
            ids = shop.client().enqueue_many("adds", [{"text": "x" * 4_000}] * 500, delay="1d")
            written += 4_000 * len(ids)
            assert (shop.root / ".tako" / "queue.db-wal").stat().st_size < 10_000_000
        assert written == 16_000_000
    finally:
        ended.set()
        for page in pages:
            page.join()
        shop.call(
            "bulk", bulk_id=new_id(), action="cancel", filter={"workflow": "adds", "has": [], "states": ["pending"]}, wait=60
        )


def _reads(web: Dashboard, path: str, ended: threading.Event) -> None:
    while not ended.is_set():
        assert web.get(path).status_code == 200


def test_the_list_says_in_short_why_a_run_waits(web: Dashboard) -> None:
    assert "waits for approval:7" in text_of(web.page("/runs?state=waiting"))


def test_links_to_lists_of_runs_use_the_words_of_the_search() -> None:
    known = {*WORDS, "q", "text", "before"}
    templates = Path(tako_lite.web.__file__).parent / "templates"
    found = {
        (file.name, name)
        for file in templates.iterdir()
        for arguments in re.findall(r"url\('/runs', ([^)]*)\)", file.read_text(encoding="utf-8"))
        for name in re.findall(r"(\w+)=", arguments)
    }
    assert {one for one in found if one[1] not in known} == set()
    assert found


def test_workflows_show_how_long_their_runs_execute(web: Dashboard) -> None:
    executed = tuple(10 if number == 2 else 0 for number in range(13))
    assert Ended(10, 0, executed).percentile(0.5) == pytest.approx(0.03)
    assert Ended().percentile(0.95) is None
    text = text_of(web.page("/workflows"))
    assert "Executing, p50 p95" in text


def test_a_summary_for_screen_readers_names_the_page_and_its_numbers(web: Dashboard) -> None:
    assert 'data-summary="Runs. 0 runs running, 1 dead."' in web.page("/runs")


def test_settings_are_shown_as_they_are_written(web: Dashboard) -> None:
    html = web.page("/groups/io")
    assert "<code>5m</code>" in html
    assert "null" not in html
