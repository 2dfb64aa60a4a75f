from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako_lite.errors import BadInput
from tako_lite.units import MAX_DURATION, counted, duration, duration_text, parse_duration, parse_size, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("7ms", 0.007),
        ("5s", 5),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1h30m", 5400),
        ("1m30s500ms", 90.5),
        ("1.5h", 5400),
        (" 5m ", 300),
        ("0s", 0),
    ],
)
def test_a_duration_with_a_unit_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert duration(text) == seconds


NOT_DURATIONS = [
    "5",
    "m",
    "-5m",
    "+5m",
    "5minutes",
    "30m1h",
    "5m5m",
    "1e3s",
    ".5s",
    "5.s",
    "5M",
    "nan",
    "inf",
    "٣s",
    "200000w",
]


@pytest.mark.parametrize("text", [*NOT_DURATIONS, "", " ", "5 m", "5m\0", "1" * 65 + "s", "9" * 5000])
def test_nonsense_is_not_a_duration_and_the_hint_says_how_to_write_one(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_duration(text)
    assert caught.value.hint
    assert len(caught.value.message) < 120


def test_a_bare_number_as_text_is_asked_for_its_unit() -> None:
    with pytest.raises(BadInput) as caught:
        duration("300")
    assert caught.value.hint == 'a duration needs a unit: "300s" is seconds'


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0.0), (3, 3.0), (0.5, 0.5), (timedelta(minutes=5), 300.0), (MAX_DURATION, MAX_DURATION)]
)
def test_numbers_and_timedeltas_are_durations_too(value: Any, seconds: float) -> None:
    assert duration(value) == seconds
    assert isinstance(duration(value), float)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, -1, -0.001, 10**400, MAX_DURATION + 1, True, None, [], b"5m", timedelta(-1)],
)
def test_values_that_are_no_length_of_time_are_refused(value: Any) -> None:
    with pytest.raises(BadInput) as caught:
        duration(value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (300, "5m"),
        (5400, "1h30m"),
        (604_800, "7d"),
        (0, "0s"),
        (0.25, "250ms"),
        (90.5, "1m30s500ms"),
        (0.0001, "0s"),
        (-300, "-5m"),
    ],
)
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, int(MAX_DURATION) * 1000))
def test_a_written_duration_reads_back_as_itself(milliseconds: int) -> None:
    assert parse_duration(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("10B", 10),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("512MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("3KB", 3000),
        ("3KiB", 3072),
        ("1TB", 10**12),
    ],
)
def test_a_size_with_a_unit_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "512", "MB", "-1MB", "512M", "5 minutes", "1e3MB", "9" * 63 + "B", "9" * 70, "nan"])
def test_nonsense_is_not_a_size_and_the_hint_says_how_to_write_one(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_size(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (512_000_000, "512MB"),
        (512 << 20, "512MiB"),
        (1_234_567, "1.2MB"),
        (1_234_567_000, "1.2GB"),
        (1500, "1.5KB"),
    ],
)
def test_a_size_is_written_exactly_where_a_unit_fits_and_rounded_where_none_does(size: int, text: str) -> None:
    assert size_text(size) == text


def test_importing_units_brings_neither_datetime_nor_what_only_a_daemon_needs() -> None:
    code = (
        "import sys; sys.modules.pop('datetime', None); import tako_lite.units; "
        "print(sorted(m for m in sys.modules if m in ('asyncio', 'datetime', 'sqlite3', 'tako_lite.config')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_a_count_has_the_plural_of_all_but_one() -> None:
    assert [counted(number, "run") for number in (0, 1, 2, 200_000)] == ["0 runs", "1 run", "2 runs", "200,000 runs"]
