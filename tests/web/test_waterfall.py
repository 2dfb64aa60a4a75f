"""The rows of a run over time, from documents as `show` prints them."""

from __future__ import annotations

from typing import Any

import pytest

from tako_lite.clock import iso
from tako_lite.web.svg import axis, bars
from tako_lite.web.waterfall import AT_THE_ENDS, MOST_ROWS, Waterfall, waterfall

BEGIN = 1_700_000_000_000


def at(seconds: float) -> str | None:
    return iso(BEGIN + round(seconds * 1000))


def run(**facts: Any) -> dict[str, Any]:
    """A run that was created at 0, is due at 0 and ends at 10, unless the facts say otherwise."""
    base = {"workflow": "order", "state": "succeeded", "attempts": 1, "created_at": at(0), "run_at": at(0)}
    times = {"started_at": at(1), "claimed_at": at(1), "finished_at": at(10), "steps": [], "waits": [], "history": []}
    return {**base, **times, **facts}


def step(name: str, begin: float, end: float, kind: str = "run", state: str = "succeeded", **facts: Any) -> dict[str, Any]:
    base = {"name": name, "kind": kind, "state": state, "result": None, "attempts": 1, "error": None, "timed_out": False}
    return {**base, "started_at": at(begin), "finished_at": at(end), **facts}


def attempt(number: int, kind: str, begin: float, end: float, of: str | None = None) -> dict[str, Any]:
    return {"number": number, "step": of, "kind": kind, "started_at": at(begin), "ended_at": at(end)}


def drawn(shape: dict[str, Any], now: float = 20.0, **options: Any) -> Waterfall:
    return waterfall(shape, BEGIN + round(now * 1000), **options)


def kinds(found: Waterfall, row: int = 0) -> list[tuple[str, float, float]]:
    """The segments of a row with where they begin and end, in hundredths of the width."""
    return [(s.kind, round(s.left * 100, 1), round((s.left + s.width) * 100, 1)) for s in found.rows[row].segments]


def test_a_run_that_succeeds_at_once_was_in_the_queue_and_executed() -> None:
    assert kinds(drawn(run())) == [("queued", 0.0, 10.0), ("executing", 10.0, 100.0)]


def test_a_delayed_run_was_scheduled_first() -> None:
    shape = run(run_at=at(4), started_at=at(5), claimed_at=at(5))
    assert kinds(drawn(shape, cut_gaps=False)) == [("scheduled", 0.0, 40.0), ("queued", 40.0, 50.0), ("executing", 50.0, 100.0)]


def test_between_attempts_a_run_waits_or_is_parked() -> None:
    history = [attempt(1, "failed", 0, 2), attempt(2, "parked", 4, 5), attempt(2, "succeeded", 8, 10)]
    found = drawn(run(history=history), cut_gaps=False)
    assert kinds(found) == [
        ("executing", 0.0, 20.0),
        ("backoff", 20.0, 40.0),
        ("executing", 40.0, 50.0),
        ("parked", 50.0, 80.0),
        ("executing", 80.0, 100.0),
    ]
    assert [segment.failed for segment in found.rows[0].segments] == [True, False, False, False, False]


def test_the_attempt_under_way_grows_up_to_now() -> None:
    shape = run(state="running", attempts=1, history=[attempt(1, "failed", 0, 5)], claimed_at=at(15), finished_at=None)
    assert kinds(drawn(shape, cut_gaps=False))[-1] == ("executing", 75.0, 100.0)


def test_tries_of_a_step_are_segments_with_their_pauses() -> None:
    history = [attempt(1, "failed", 1, 3, of="charge"), attempt(2, "succeeded", 6, 8, of="charge")]
    found = drawn(run(steps=[step("charge", 1, 8, attempts=2)], history=history))
    assert kinds(found, 1) == [("failed", 10.0, 30.0), ("backoff", 30.0, 60.0), ("done", 60.0, 80.0)]


def test_a_step_under_way_grows_behind_its_earlier_tries() -> None:
    history = [attempt(1, "failed", 1, 3, of="charge")]
    under_way = [{"name": "charge", "started_at": at(6)}, {"name": "mail", "started_at": at(8)}]
    steps = [step("charge", 1, 3, state="failed")]
    shape = run(state="running", finished_at=None, steps=steps, history=history, in_flight=under_way)
    found = drawn(shape, now=10)
    assert kinds(found, 1) == [("failed", 10.0, 30.0), ("backoff", 30.0, 60.0), ("executing", 60.0, 100.0)]
    assert kinds(found, 2) == [("executing", 80.0, 100.0)]


def test_steps_are_in_the_order_in_which_they_began_and_open_waits_last_until_now() -> None:
    waits = [{"name": "approval", "kind": "signal", "key": "approval:1", "started_at": at(5), "wake_at": None}]
    shape = run(state="waiting", finished_at=None, steps=[step("b", 2, 3), step("a", 1, 4)], waits=waits)
    found = drawn(shape, now=10, cut_gaps=False)
    assert [(row.name, row.icon) for row in found.rows[1:]] == [("a", "run"), ("b", "run"), ("approval", "signal")]
    assert kinds(found, 3) == [("open", 50.0, 100.0)]


def test_a_long_sleep_is_cut_and_its_length_is_written_instead() -> None:
    day = 86_400
    history = [attempt(1, "parked", 1, 2), attempt(1, "succeeded", day, day + 1)]
    shape = run(steps=[step("sleep", 2, day, "sleep")], history=history, finished_at=at(day + 1))
    found = drawn(shape)
    assert [cut.label for cut in found.cuts] == ["23 h 59 m"]
    assert all(width - left > 10 for kind, left, width in kinds(found) if kind == "executing")
    assert drawn(shape, cut_gaps=False).cuts == ()


def test_of_very_many_steps_the_first_the_last_and_the_failed_ones_are_shown() -> None:
    steps = [step(f"s{n}", n / 100, n / 100 + 0.001, state="failed" if n == 500 else "succeeded") for n in range(1000)]
    found = drawn(run(steps=steps))
    names = [row.name for row in found.rows[1:]]
    assert len(names) == MOST_ROWS == 3 * AT_THE_ENDS
    assert found.hidden == 1000 - MOST_ROWS
    assert {"s0", "s500", "s999"} <= set(names)


@pytest.mark.parametrize("state", ["pending", "cancelled"])
def test_a_run_that_never_started_has_no_executing_segment(state: str) -> None:
    ended = at(5) if state == "cancelled" else None
    shape = run(state=state, attempts=0, started_at=None, claimed_at=None, finished_at=ended)
    assert {kind for kind, *_ in kinds(drawn(shape))} == {"queued"}


def test_the_drawing_has_geometry_in_attributes_and_escapes_names() -> None:
    found = drawn(run(steps=[step('<b x="1">', 1, 3, state="failed")]))
    svg = bars(found.rows[1].segments, found.cuts)
    assert svg == (
        '<svg class="bars" width="100%" height="24" aria-hidden="true">'
        '<rect class="bar failed" x="10.000%" y="5" width="20.000%" height="14" rx="2">'
        "<title>&lt;b x=&#34;1&#34;&gt;: failed after 2.0 s</title></rect>"
        '<rect class="bar end" x="29.600%" y="3" width="0.4%" height="18"/></svg>'
    )
    assert "style" not in svg + axis(found.cuts)
