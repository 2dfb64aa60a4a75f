"""Times as people give them, in milliseconds since 1970."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tako_lite.clock import EARLIEST_MS, LATEST_MS, iso, milliseconds
from tako_lite.errors import BadInput


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), 1_893_456_000_000),
        (datetime(2030, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))), 1_893_456_000_000),
        ("2030-01-01T00:00:00.125Z", 1_893_456_000_125),
        ("2030-01-01T01:00:00+01:00", 1_893_456_000_000),
        (1_893_456_000.125, 1_893_456_000_125),
        (0, EARLIEST_MS),
        (datetime.max.replace(tzinfo=UTC), LATEST_MS),
    ],
)
def test_a_time_is_a_datetime_text_or_seconds(when: Any, expected: int) -> None:
    assert milliseconds(when) == expected


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (math.inf, "1970 to 9999"),
        (-math.inf, "1970 to 9999"),
        (math.nan, "1970 to 9999"),
        (-0.5, "1970 to 9999"),
        (LATEST_MS / 1000 + 1, "1970 to 9999"),
        (10**400, "1970 to 9999"),
        (datetime(1969, 12, 31, tzinfo=UTC), "1970 to 9999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "1970 to 9999"),
        (datetime(2030, 1, 1), "has no time zone"),
        ("2030-01-01T00:00:00", "has no time zone"),
        ("soon", "'soon' is not a time"),
        ("x" * 1_000_000, "is not a time"),
        (True, "a time cannot be of type bool"),
        (None, "a time cannot be of type NoneType"),
    ],
)
def test_what_is_no_time_is_refused_in_few_words(when: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        milliseconds(when)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("moment", [EARLIEST_MS, 1_893_456_000_001, LATEST_MS])
def test_text_of_ours_is_read_back_as_the_same_time(moment: int) -> None:
    assert milliseconds(iso(moment) or "") == moment
