"""How many runs are claimed ahead, and which of them start first."""

from __future__ import annotations

import pytest

from tako_lite.daemon.ahead import HELD_FOR, MOST, Ahead
from tako_lite.records import Claimed


def claimed(number: int, payload: str = "{}") -> Claimed:
    return Claimed(number, str(number), "work", 1, 0, 3, 0, 0, None, None, payload)


def short(seconds: float) -> Ahead:
    """A group whose runs take so long."""
    ahead = Ahead()
    for _ in range(100):
        ahead.took([seconds])
    return ahead


def test_nothing_is_claimed_ahead_before_the_runs_of_a_group_have_proved_short() -> None:
    ahead = Ahead()
    assert ahead.wanted(10) == 0
    ahead.took([0.001])
    assert ahead.wanted(10) == 0


@pytest.mark.parametrize(
    ("slots", "seconds", "wanted"),
    [(1, 0.01, 4), (10, 0.01, 49), (10, 0.0001, MOST), (1, 0.019, 2), (10, 0.1, 0), (0, 0.001, 0)],
)
def test_as_many_are_claimed_ahead_as_the_slots_execute_in_a_moment(slots: int, seconds: float, wanted: int) -> None:
    assert short(seconds).wanted(slots) == pytest.approx(wanted, abs=1)


def test_a_group_that_stalled_claims_nothing_ahead_until_its_runs_are_short_again() -> None:
    ahead = short(0.001)
    ahead.has_stalled()
    assert ahead.wanted(10) == 0
    for _ in range(100):
        ahead.took([0.001])
    assert ahead.wanted(10) == MOST


def test_long_payloads_are_not_claimed_ahead() -> None:
    ahead = short(0.001)
    for number in range(50):
        ahead.add([claimed(number, "x" * 10_000)], 0.0)
        ahead.release()
    assert ahead.wanted(10) == 0


def test_runs_are_taken_in_their_order() -> None:
    ahead = Ahead()
    ahead.add([claimed(1), claimed(2)], HELD_FOR)
    ahead.add([claimed(3)], HELD_FOR)
    assert [run.id for run in ahead.take(2, 1.0)] == ["1", "2"]
    assert ahead.moved_at == 1.0
    assert ahead.take(0, 2.0) == []
    assert ahead.moved_at == 1.0
    assert [run.id for run in ahead.release()] == ["3"]
    assert (len(ahead.runs), ahead.releases) == (0, 1)


def test_a_run_that_is_to_start_earlier_is_noticed() -> None:
    ahead = Ahead()
    assert not ahead.starts_after(0)
    ahead.add([claimed(5), claimed(7)], 0.0)
    assert (ahead.starts_after(6), ahead.starts_after(7), ahead.starts_after(8)) == (True, False, False)
