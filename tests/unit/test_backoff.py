"""Delays between tries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako_lite.backoff import Backoff
from tako_lite.errors import BadInput


def middle() -> float:
    return 0.5


def test_the_delay_doubles_with_every_failure() -> None:
    delays = [Backoff(base=1, max=3600).delay(failures, middle) for failures in (1, 2, 3, 4)]
    assert delays == [1, 2, 4, 8]


def test_jitter_reaches_a_fifth_to_both_sides() -> None:
    backoff = Backoff(base=10, max=3600)
    assert backoff.delay(1, lambda: 0.0) == pytest.approx(8)
    assert backoff.delay(1, lambda: 1.0) == pytest.approx(12)


def test_no_delay_is_over_max_with_its_jitter_included() -> None:
    assert Backoff(base=0.2, max=30).delay(20, lambda: 1.0) == 30


def test_delays_at_max_are_spread_too() -> None:
    backoff = Backoff(base=0.2, max=30)
    assert backoff.delay(20, lambda: 0.0) < backoff.delay(20, lambda: 0.25) < 30


def test_a_huge_count_of_failures_does_not_overflow() -> None:
    assert Backoff(base=1, max=3600).delay(10**30, middle) == 3600


def test_base_and_max_are_durations() -> None:
    assert Backoff(base="500ms", max=timedelta(minutes=5)) == Backoff(base=0.5, max=300)


def test_nonsense_is_refused() -> None:
    for base in ("soon", -1, float("nan")):
        with pytest.raises(BadInput):
            Backoff(base=base)


def test_a_base_above_max_is_refused() -> None:
    with pytest.raises(BadInput, match=r"base \(7200 s\) is above max \(3600 s\)"):
        Backoff(base="2h")


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 5000), st.floats(0, 1))
def test_every_delay_is_within_a_fifth_of_the_exact_one_and_at_most_max(
    one: float, other: float, failures: int, chance: float
) -> None:
    backoff = Backoff(base=min(one, other), max=max(one, other))
    exact = backoff.delay(failures, middle)
    delay = backoff.delay(failures, lambda: chance)
    assert delay <= backoff.max
    assert exact * 0.8 <= delay * (1 + 1e-9)
    assert delay <= exact * 1.2 * (1 + 1e-9)
