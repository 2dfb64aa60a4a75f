"""Schedules and triggers: their next times, in words and on clocks."""

from __future__ import annotations

from datetime import datetime

import pytest

from tako_lite.clock import milliseconds
from tako_lite.web.routes.schedules import TICKS, ticks, words
from tests.support.project import Project
from tests.support.web import Dashboard, text_of

TIMED = """
from tako_lite import poll

@workflow("nightly", schedule="30 2 * * *", timezone="Europe/Berlin")
async def nightly(payload, step: Step) -> None: ...

@poll("finds", every="1h", starts="nightly")
def finds(cursor):
    return [], {"page": 7}
"""


def at(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))


def test_a_time_that_the_clocks_skip_is_noted() -> None:
    found = [*ticks("30 2 * * *", "Europe/Berlin", at("2026-03-28T00:00:00+00:00"), 3)]
    assert [tick.wall for tick in found] == ["Sat 28 Mar 02:30", "Sun 29 Mar 03:00", "Mon 30 Mar 02:30"]
    assert [tick.note for tick in found] == ["", "02:30 does not exist on that day", ""]
    assert found[1].moment == "2026-03-29T01:00:00.000Z"


@pytest.mark.parametrize(("cron", "count"), [("* * * * *", TICKS), ("@yearly", TICKS), ("0 0 29 2 *", 2), ("0 0 31 2 *", 0)])
def test_the_next_times_are_few_and_not_far_away(cron: str, count: int) -> None:
    assert len([*ticks(cron, "UTC", at("2026-01-01T00:00:00+00:00"))]) == count


def test_expressions_are_put_into_words() -> None:
    assert words("0 2 * * *") == "At 02:00 every day"
    assert words("nonsense") == ""


def test_the_pages_show_when_a_schedule_fires_and_the_cursor_of_a_trigger(shop: Project, web: Dashboard) -> None:
    shop.add("timed.py", TIMED)
    shop.call("run_trigger", name="finds")
    text = text_of(web.page("/schedules"))
    assert "At 02:30 every day Europe/Berlin" in text
    assert "Cursor of finds" in text
    one = web.json("/schedules/nightly")
    assert (one["workflow"], one["timezone"], len(one["next"])) == ("nightly", "Europe/Berlin", 2 * TICKS)
    assert "the latest one is caught up" in text_of(web.page("/schedules/nightly"))
    assert web.get("/schedules/nighty").status_code == 404
