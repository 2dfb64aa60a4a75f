"""Histograms with fixed buckets."""

from __future__ import annotations

import pytest

from tako_lite.histogram import quantile


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        ((), 0.5, None),
        ((0, 0, 0), 0.5, None),
        ((4, 0, 0), 0.5, 5.0),
        ((2, 2, 0), 0.5, 10.0),
        ((0, 4, 0), 0.5, 15.0),
        ((0, 0, 4), 0.5, 20.0),
        ((1,), 1.0, 10.0),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(counts: tuple[int, ...], part: float, expected: float | None) -> None:
    assert quantile((10, 20), counts, part) == expected
