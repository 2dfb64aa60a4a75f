"""Errors by fingerprint, bulk actions, signals, activity and the system."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tako_lite.records import new_id
from tako_lite.web.actions import TYPED
from tests.support.project import Project, wait_until
from tests.support.web import JSON, Dashboard, dashboard_of, text_of


@pytest.fixture(scope="module")
def helpers(shop: Project) -> Iterator[Dashboard]:
    """A dashboard whose visitors may start bulk actions, but only discard runs."""
    with dashboard_of(shop.root, may=("bulk", "discard")) as made:
        yield made


def fingerprint(web: Dashboard) -> str:
    return str(web.json("/runs?state=dead")["runs"][0]["fingerprint"])


def test_an_error_has_a_page_with_an_example_and_its_runs(shop: Project, web: Dashboard) -> None:
    shown = text_of(web.page("/errors"))
    assert "ValueError" in shown
    assert "no &lt;b&gt;" in shown
    found = web.json("/errors")["errors"]
    assert {one["fingerprint"] for one in found} >= {fingerprint(web)}
    page = text_of(web.page(f"/errors/{fingerprint(web)}"))
    assert "shop.py" in page
    assert "raise ValueError" in page
    assert web.json(f"/errors/{fingerprint(web)}")["workflows"] == ["fails"]
    assert web.get("/errors/1000000000000000").status_code == 404
    assert web.get("/errors?of=others").status_code == 400
    assert "ValueError" in web.page("/errors?of=attempts")


def test_a_bulk_retry_is_confirmed_by_its_number_and_its_progress_is_in_the_activity(shop: Project, web: Dashboard) -> None:
    shop.run("fails", "again")
    mark = fingerprint(web)
    chosen = json.dumps({"fingerprint": mark, "states": ["dead"]})
    question = web.json(f"/bulk/retry?filter={chosen}")
    assert question["count"] == web.json(f"/errors/{mark}")["dead"]
    assert "this cannot be undone" in text_of(web.page(f"/bulk/retry?filter={chosen}")).lower()
    form = {"filter": chosen, "expect": str(question["count"]), "request": new_id()}
    shop.note_retry()
    reply = web.post("/do/bulk_retry", form, **JSON)
    assert reply.status_code == 200, reply.text
    assert reply.json()["next"] == f"/activity/{form['request']}"
    entry = web.json(reply.json()["next"])
    assert (entry["action"], entry["source"], entry["detail"]["matched"]) == ("bulk_retry", "web", question["count"])
    wait_until(lambda: "Done:" in text_of(web.page(reply.json()["next"])), "the page says that it is done")
    shown = wait_until(
        lambda: f"{question['count']} died of it again" in text_of(web.page(f"/errors/{mark}")), "all died again"
    )
    assert shown
    assert "bulk_retry" in web.page("/activity?action=bulk_retry")
    assert web.json("/activity?action=pause&actor=nobody")["activity"] == []


def test_more_runs_than_were_confirmed_are_refused(shop: Project, web: Dashboard) -> None:
    form = {"filter": json.dumps({"states": ["dead"]}), "expect": "0", "request": new_id()}
    reply = web.post("/do/bulk_discard", form, **JSON)
    assert reply.status_code == 400
    assert "0 were confirmed" in reply.json()["said"]


def test_a_large_number_has_to_be_typed(web: Dashboard) -> None:
    form = {"filter": "{}", "expect": str(TYPED), "request": new_id(), "typed": "999"}
    reply = web.post("/do/bulk_cancel", form, **JSON)
    assert reply.status_code == 400
    assert "the number that was typed is not 1000" in reply.json()["said"].lower()


def test_a_bulk_action_needs_the_right_to_its_action_too(helpers: Dashboard) -> None:
    form = {"filter": "{}", "expect": "0", "request": new_id()}
    assert helpers.post("/do/bulk_retry", form, **JSON).status_code == 403
    assert helpers.post("/do/bulk_discard", form, **JSON).status_code != 403
    assert "/bulk/retry" not in helpers.page("/runs?state=dead")
    assert "/bulk/discard" in helpers.page("/runs?state=dead")


def test_a_question_about_a_wrong_filter_or_action_is_an_error_page(web: Dashboard) -> None:
    assert web.get("/bulk/retry?filter={").status_code == 400
    assert web.get('/bulk/retry?filter={"colour":"red"}').status_code == 400
    assert web.get("/bulk/explode").status_code == 404


def test_a_scheduled_run_is_started_moved_and_edited(shop: Project, web: Dashboard) -> None:
    id = json.loads(shop.command("enqueue", "adds", "[1]", "--delay", "1d", "--json").stdout)["id"]
    assert web.post("/do/edit", {"target": id, "priority": "30", "delay": "2h"}, **JSON).json()["said"] == "The run is changed."
    assert web.json(f"/runs/{id}")["priority"] == 30
    assert web.post("/do/move", {"target": id, "to": "io"}, **JSON).json()["said"] == "The run is moved."
    assert web.post("/do/run_now", {"target": id}, **JSON).json()["said"] == "The run is due now."
    shop.wait(id)
    assert web.post("/do/edit", {"target": id, "priority": "30"}, **JSON).status_code == 409


def test_signals_are_listed_with_their_runs_and_a_form(web: Dashboard) -> None:
    waits = web.json("/signals")["waits"]
    assert [wait["event"] for wait in waits] == ["approval:7"]
    assert 'value="approval:7"' in web.page("/signals")


@pytest.mark.sqlite
def test_the_system_page_names_versions_and_files_and_runs_the_checks_when_asked(shop: Project, web: Dashboard) -> None:
    document = web.json("/system")
    assert document["daemon_version"] == document["version"]
    assert {"tako.toml", "queue.db"} <= {file["name"] for file in document["files"]}
    assert document["findings"] is None
    found = {one["check"] for one in web.json("/system?doctor=run")["findings"]}
    assert found == {one["check"] for one in json.loads(shop.command("doctor", "--json").stdout)["findings"]}


def test_charts_are_tables_of_the_chosen_range(web: Dashboard) -> None:
    assert web.page("/").count('<tr><th scope="row">') == 60
    assert web.page("/groups/io?range=8h").count('<tr><th scope="row"><time') == 96
    assert web.get("/?range=2y").status_code == 400
