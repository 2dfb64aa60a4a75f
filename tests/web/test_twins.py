"""Each page as JSON is what the command line prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.project import Project
from tests.support.web import JSON, Dashboard

UNSTEADY = {"uptime_s", "cpu_s", "oldest_wait_s", "rss_bytes", "done_a_minute", "failed_a_minute"}
"""What differs between two moments."""


def steady(document: Any) -> Any:
    if isinstance(document, dict):
        if "rss_bytes" in document:  # a worker, whose time of start is computed again each time
            document = {**document, "started_at": None}
        return {key: steady(value) for key, value in document.items() if key not in UNSTEADY}
    return [steady(value) for value in document] if isinstance(document, list) else document


def printed(project: Project, *command: str) -> Any:
    return steady(json.loads(project.command(*command, "--json").stdout))


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/", ["status"]),
        ("/groups", ["groups"]),
        ("/groups/io", ["groups", "io"]),
        ("/workflows", ["workflows"]),
        ("/schedules", ["schedules"]),
        ("/triggers", ["triggers"]),
        ("/runs", ["runs"]),
        ("/runs?state=dead", ["runs", "--state", "dead"]),
        ("/runs?workflow=adds", ["runs", "--workflow", "adds"]),
        ("/runs?group=io", ["runs", "--group", "io"]),
        ("/runs?q=step:reserve has:waits", ["runs", "--step", "reserve", "--has", "waits"]),
        ("/activity", ["activity"]),
    ],
)
def test_a_page_as_json_is_what_its_command_prints(shop: Project, web: Dashboard, path: str, command: list[str]) -> None:
    assert steady(web.json(path)) == printed(shop, *command)


@pytest.mark.parametrize("workflow", ["order", "fails", "adds"])
def test_a_run_as_json_is_what_show_prints(shop: Project, web: Dashboard, workflow: str) -> None:
    id = web.json(f"/runs?workflow={workflow}")["runs"][0]["id"]
    assert steady(web.json(f"/runs/{id}")) == printed(shop, "show", id)
    assert web.get(f"/runs/{id[-12:]}").headers["location"] == f"/runs/{id}"


def test_an_error_as_json_is_what_the_command_prints(shop: Project, web: Dashboard) -> None:
    reply = web.get("/runs/00000000", **JSON)
    assert reply.status_code == 404
    assert reply.json() == json.loads(shop.command("show", "00000000", "--json").stderr)
