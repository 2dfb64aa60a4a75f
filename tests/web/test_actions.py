"""What visitors do: each action is a form, a right and a command."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from urllib.parse import unquote

import pytest

from tako_lite.records import new_id
from tako_lite.web.actions import ACTIONS
from tests.support.project import Project
from tests.support.web import JSON, Dashboard, dashboard_of, text_of

SCHEDULED = """
from tako_lite import poll

@workflow("nightly", schedule="0 2 * * *")
async def nightly(payload, step: Step) -> None: ...

@poll("finds", every="1h", starts="nightly")
def finds(cursor):
    return [], 1
"""


@pytest.fixture(scope="module")
def timed(shop: Project) -> Project:
    """The shop with a schedule and a trigger."""
    shop.add("timed.py", SCHEDULED)
    return shop


@pytest.fixture(scope="module")
def readers(shop: Project) -> Iterator[Dashboard]:
    """A dashboard whose visitors may only look."""
    with dashboard_of(shop.root, read_only=True) as made:
        yield made


def said(web: Dashboard, action: str, code: int = 200, **fields: str) -> str:
    """What the dashboard says after an action."""
    reply = web.post(f"/do/{action}", fields, **JSON)
    assert reply.status_code == code, reply.text
    return str(reply.json()["said"])


def test_cancel_and_retry_act_once_and_say_what_came_of_it(shop: Project, web: Dashboard) -> None:
    id = json.loads(shop.command("enqueue", "adds", "[1]", "--delay", "1d", "--json").stdout)["id"]
    assert said(web, "cancel", target=id) == "The run is cancelled."
    assert said(web, "cancel", 409, target=id) == "The run had ended already."
    assert web.json(f"/runs/{id}")["state"] == "cancelled"
    assert said(web, "retry", target=id) == "The run is in the queue again."
    assert shop.wait(id)["state"] == "succeeded"
    assert said(web, "retry", 409, target=id) == "The run succeeded; enqueue a new run instead."
    assert said(web, "cancel", 409, target=new_id()) == "The run is no longer in the queue."


def test_discard_takes_a_dead_run_out_of_the_count(shop: Project, web: Dashboard) -> None:
    id = shop.run("fails", 1)["id"]
    before = shop.group("default")["dead"]
    assert said(web, "discard", target=id) == "The run is discarded."
    assert shop.group("default")["dead"] == before - 1


def test_a_signal_wakes_the_runs_that_wait_for_it(shop: Project, web: Dashboard) -> None:
    id = shop.enqueue("order", {"number": 99})
    shop.wait_for_state(id, "waiting")
    assert said(web, "signal", target="approval:99", payload='{"by": "ann"}') == "approval:99 is stored; it woke 1 run."
    assert shop.wait(id)["state"] == "succeeded"
    assert said(web, "signal", 409, target="approval:99") == "approval:99 was stored already; its first payload is kept."
    assert "Payload is not JSON" in said(web, "signal", 400, target="approval:100", payload="{not json")


def test_a_group_is_paused_resumed_and_scaled(shop: Project, web: Dashboard) -> None:
    assert said(web, "pause", target="io") == "Group io is paused."
    assert shop.group("io")["state"] == "paused"
    assert said(web, "resume", target="io") == "Group io is resumed."
    assert said(web, "pause", target="io", note="the printer <b>burns</b>") == "Group io is paused."
    assert "s ago : the printer <b>burns</b>" in unescape(text_of(web.page("/groups/io")))
    assert "s ago: the printer <b>burns</b>" in unescape(text_of(web.page("/")))
    assert said(web, "resume", target="io") == "Group io is resumed."
    assert "printer" not in web.page("/groups/io")
    assert said(web, "scale", target="io", workers="1") == "Group io keeps 1 worker now."
    assert shop.group("io")["min_workers"] == 1
    assert said(web, "scale", target="io") == "Group io has the number of workers in tako.toml again."
    assert shop.group("io")["min_workers"] == 0
    assert "nothing" in said(web, "pause", 404, target="nothing")
    assert "out of range" in said(web, "scale", 400, target="io", workers="1001")
    assert "whole number" in said(web, "scale", 400, target="io", workers="many")


def test_schedules_and_triggers_are_paused_and_run(timed: Project, web: Dashboard) -> None:
    assert said(web, "schedule_pause", target="nightly") == "Schedule nightly is paused."
    assert timed.call("schedules")["schedules"][0]["paused"]
    assert timed.command("schedules", "pause", "nightly", "--note", "until the move").returncode == 0
    assert ": until the move" in text_of(web.page("/schedules/nightly"))
    assert said(web, "schedule_resume", target="nightly") == "Schedule nightly is resumed."
    assert said(web, "schedule_run", target="nightly") == "Enqueued."
    assert said(web, "trigger_pause", target="finds") == "Trigger finds is paused."
    assert timed.command("triggers", "pause", "finds", "--note", "too many files").returncode == 0
    assert ": too many files" in text_of(web.page("/schedules"))
    assert said(web, "trigger_resume", target="finds") == "Trigger finds is resumed."
    assert web.post("/do/trigger_run", {"target": "finds"}, **JSON).status_code in (200, 409)


def test_enqueue_leads_to_the_run_and_a_form_that_is_sent_twice_makes_one(shop: Project, web: Dashboard) -> None:
    form = {"target": "adds", "payload": "[20, 22]", "request": new_id(), "next": "/workflows"}
    first, second = web.post("/do/enqueue", form), web.post("/do/enqueue", form)
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"] == f"/runs/{form['request']}"
    assert shop.wait(form["request"])["result"] == 42
    assert "did you mean `adds`" in said(web, "enqueue", 404, target="addz")


def test_a_form_without_scripts_leads_back_to_its_page_which_shows_what_came_of_it_once(web: Dashboard) -> None:
    reply = web.post("/do/pause", {"target": "io", "next": "/runs?state=dead"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/runs?state=dead")
    assert unquote(web.client.cookies["tako_said"]) == "Group io is paused."
    assert '<div id="toast" role="status">Group io is paused.</div>' in web.page("/runs?state=dead")
    assert '<div id="toast" role="status"></div>' in web.page("/runs?state=dead")
    assert web.post("/do/resume", {"target": "io", "next": "//evil.example"}).headers["location"] == "/"


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_works_without_its_right(shop: Project, readers: Dashboard, action: str) -> None:
    before = shop.status()["groups"]
    assert readers.post(f"/do/{action}", {"target": "io"}, **JSON).json()["error"]["type"] == "forbidden"
    assert readers.post(f"/do/{action}", {"target": "io"}, **JSON).status_code == 403
    assert readers.get(f"/do/{action}").status_code in (404, 405)
    assert [group["state"] for group in shop.status()["groups"]] == [group["state"] for group in before]


def test_pages_offer_only_what_the_visitor_may_do(shop: Project, web: Dashboard, readers: Dashboard) -> None:
    id = web.json("/runs?workflow=order&state=waiting")["runs"][0]["id"]
    assert 'action="/do/cancel"' in web.page(f"/runs/{id}")
    assert "/do/" not in readers.page(f"/runs/{id}")


@pytest.mark.sqlite
def test_looking_changes_nothing_in_the_queue(shop: Project, web: Dashboard) -> None:
    def content() -> list[str]:
        """Every row, without the totals of minutes, which the daemon stores at times of its own choice."""
        with closing(sqlite3.connect(f"file:{shop.root / '.tako/queue.db'}?mode=ro", uri=True)) as connection:
            return [line for line in connection.iterdump() if not line.startswith('INSERT INTO "minutes"')]

    def look() -> int:
        """Follow the links from page to page, to two runs, workflows, … of each kind of page."""
        seen, ahead, kinds = set[str](), {"/", "/nothing"}, Counter[str]()
        while ahead:
            path = min(ahead)
            ahead.remove(path)
            seen.add(path)
            kind = re.sub(r"(?<=[/=])[^/?&=]+$", "", path)
            kinds[kind] += 1
            if kinds[kind] > 2:
                continue
            html = web.get(path).text
            web.get(path, **JSON)
            links = {link.replace("&amp;", "&") for link in re.findall(r'<a[^>]* href="(/[^"#]*)', html)}
            ahead |= {link for link in links if "before=" not in link and link.count("=") < 2} - seen
        return sum(min(count, 2) for count in kinds.values())

    before = content()
    assert look() > 25
    assert content() == before


@pytest.mark.sqlite
def test_without_a_daemon_actions_write_the_queue_or_say_why_not(project: Project) -> None:
    project.workflow("adds.py", '@workflow("adds")\nasync def adds(payload, step): return sum(payload)\n')
    with dashboard_of(project.root) as web:
        assert "not running" in web.page("/")
        id = web.post("/do/enqueue", {"target": "adds", "payload": "[1]"}).headers["location"].rpartition("/")[2]
        assert said(web, "cancel", target=id) == "The run is cancelled."
        assert said(web, "pause", 503, target="default") == "No daemon is running; `tako-lite serve` starts one"
        assert web.json("/runs")["runs"][0]["state"] == "cancelled"
