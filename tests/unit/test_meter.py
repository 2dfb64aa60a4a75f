"""What the daemon counts: totals, the rows of minutes, and the ends of the last 60 seconds."""

from __future__ import annotations

from typing import Any

import pytest

from tako_lite.daemon.meter import MINUTE, Meter
from tako_lite.daemon.worker_session import Assignment
from tako_lite.histogram import EXECUTION_BOUNDS, QUEUE_BOUNDS, Histogram
from tako_lite.records import Claimed
from tako_lite.store.base import EndedRun

NOON = 29_000_000 * MINUTE


class Time:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def meter(time: Time) -> Meter:
    return Meter(lambda: time.now)


def run(workflow: str = "greet", **changes: Any) -> Claimed:
    fields: dict[str, Any] = {"token": 1, "attempts": 0, "max_attempts": 3, "crashes": 0, "executed_ms": 0}
    return Claimed(0, "id", workflow, **fields, parent=None, tenant=None, payload="1")._replace(**changes)


def end(meter: Meter, workflow: str = "greet", since: float = 1.0, until: float = 1.0) -> None:
    meter.runs_succeeded("g", [Assignment(run(workflow), since)], until)


def died(workflow: str = "greet") -> EndedRun:
    return EndedRun("id", None, "g", workflow, "dead", 7, "crashed", "WorkerCrashed", "it died")


def test_a_value_counts_in_the_first_bucket_that_is_not_below_it() -> None:
    histogram = Histogram((5, 10))
    for value in (0, 5, 5.1, 10, 11, 1e9):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == pytest.approx(1e9 + 31.1)


def test_a_run_waits_from_the_time_at_which_it_was_due(meter: Meter, time: Time) -> None:
    meter.runs_started("g", [run(due_at=NOON - 40), run(due_at=NOON - 7), run(due_at=NOON + 3)])
    totals = meter.groups["g"].workflows["greet"]
    assert (totals.started, totals.waited_ms) == (3, 47)
    assert totals.waited[: len(QUEUE_BOUNDS)][:4] == [1, 1, 0, 1]


def test_what_an_attempt_executed_before_it_parked_counts_when_it_ends(meter: Meter) -> None:
    meter.attempt_ended("g", run(), "parked", None)
    assert sum(meter.groups["g"].workflows["greet"].executed) == 0
    meter.runs_succeeded("g", [Assignment(run(executed_ms=400), 10.0)], 10.25)
    totals = meter.groups["g"].workflows["greet"]
    assert (totals.succeeded, totals.executed_ms) == (1, 650)
    assert totals.executed[EXECUTION_BOUNDS.index(1_000)] == 1


def test_a_minute_that_is_over_is_a_row_with_what_happened_in_it_alone(meter: Meter, time: Time) -> None:
    meter.runs_started("g", [run(due_at=NOON)])
    end(meter, until=1.25)
    meter.attempt_ended("g", run("fails"), "timeout", 9)
    meter.run_ended(died("fails"))
    assert not meter.take_minutes()
    time.now += MINUTE
    rows = {row.workflow: row for row in meter.take_minutes()}
    assert meter.take_minutes() == []
    greet, fails = rows["greet"], rows["fails"]
    assert (greet.minute, greet.group) == (NOON // MINUTE, "g")
    assert (greet.started, greet.succeeded, greet.failed, greet.dead, greet.executed_ms) == (1, 1, 0, 0, 250)
    assert (fails.started, fails.succeeded, fails.failed, fails.dead, fails.executed_ms) == (0, 0, 1, 1, 9)
    assert sum(greet.waited) == sum(greet.executed) == 1
    end(meter)
    time.now += 5 * MINUTE
    (row,) = meter.take_minutes()
    assert (row.minute, row.workflow, row.succeeded, row.started) == (NOON // MINUTE + 1, "greet", 1, 0)


def test_minutes_without_runs_have_no_rows_and_evaluations_of_triggers_have_none_either(meter: Meter, time: Time) -> None:
    for _ in range(3):
        time.now += MINUTE
        meter.attempt_ended("g", run("@inbox"), "succeeded", 3)
    assert meter.take_all() == []


def test_at_the_end_the_minute_that_is_not_over_is_a_row_too(meter: Meter) -> None:
    end(meter)
    (row,) = meter.take_all()
    assert (row.succeeded, row.minute) == (1, NOON // MINUTE)
    assert meter.take_all() == []


def test_a_clock_that_is_set_back_closes_the_minute(meter: Meter, time: Time) -> None:
    end(meter)
    time.now -= 10 * MINUTE
    end(meter)
    time.now += MINUTE
    assert [(row.minute - NOON // MINUTE, row.succeeded) for row in meter.take_minutes()] == [(0, 1), (-10, 1)]


def test_the_runs_of_the_last_minute_are_those_that_ended_within_sixty_seconds(meter: Meter, time: Time) -> None:
    assert not meter.knows_last_minute
    end(meter)
    time.now += 59_000
    end(meter)
    meter.run_ended(died())
    assert meter.last_minute("g") == (2, 1)
    time.now += 1_000
    assert meter.knows_last_minute
    assert meter.last_minute("g") == (1, 1)
    time.now += 59_000
    assert meter.last_minute("g") == (0, 0)
    assert meter.last_minute("other") == (0, 0)


def test_a_clock_that_is_set_back_leaves_no_ends_in_the_future(meter: Meter, time: Time) -> None:
    end(meter)
    time.now -= 3_600_000
    end(meter)
    assert meter.last_minute("g") == (1, 0)
