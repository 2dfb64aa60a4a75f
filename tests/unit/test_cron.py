from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from tako_lite.catalog.schedule import SHORTHANDS
from tako_lite.clock import LATEST_MS
from tako_lite.cron import MOST_CAUGHT_UP, Due, due_slots, next_slot
from tako_lite.errors import BadInput
from tako_lite.options import CatchUp

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY


def at(text: str) -> int:
    """A moment such as `2026-03-29T02:00+01:00` or, in UTC, `2026-03-29T01:00`, in milliseconds."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def slots_after(cron: str, timezone: str, after: int) -> Iterator[int]:
    slot = next_slot(cron, timezone, after)
    while slot is not None:
        yield slot
        slot = next_slot(cron, timezone, slot)


def first_slots(cron: str, timezone: str, after: str, count: int) -> list[str]:
    """The next slots as the clocks of the zone show them, with the offset."""
    found = itertools.islice(slots_after(cron, timezone, at(after)), count)
    zone = ZoneInfo(timezone)
    return [datetime.fromtimestamp(slot / 1000, zone).isoformat(timespec="minutes") for slot in found]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/5 * * * *", "2026-05-04T10:03:20", ["2026-05-04T10:05", "2026-05-04T10:10"]),
        ("30 8 * * 1-5", "2026-05-08T08:30", ["2026-05-11T08:30", "2026-05-12T08:30"]),
        ("0 9 L * *", "2026-02-01T00:00", ["2026-02-28T09:00", "2026-03-31T09:00"]),
        ("0 9 * * MON#1", "2026-05-04T09:00", ["2026-06-01T09:00", "2026-07-06T09:00"]),
        ("59 23 31 12 *", "2026-12-31T23:58", ["2026-12-31T23:59", "2027-12-31T23:59"]),
        ("* * * * *", "2026-12-31T23:58", ["2026-12-31T23:59", "2027-01-01T00:00"]),
        ("@hourly", "2026-12-31T22:30", ["2026-12-31T23:00", "2027-01-01T00:00"]),
        ("@daily", "2026-02-27T12:00", ["2026-02-28T00:00", "2026-03-01T00:00"]),
        ("@midnight", "2026-12-30T12:00", ["2026-12-31T00:00", "2027-01-01T00:00"]),
        ("@weekly", "2026-05-04T00:00", ["2026-05-10T00:00", "2026-05-17T00:00"]),
        ("@monthly", "2026-11-15T00:00", ["2026-12-01T00:00", "2027-01-01T00:00"]),
        ("@yearly", "2026-01-01T00:00", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        (" @Annually ", "2026-06-01T00:00", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 29 2 *", "2096-02-29T00:00", ["2104-02-29T00:00", "2108-02-29T00:00"]),
        ("* * 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00", "2028-02-29T00:01"]),
    ],
)
def test_the_slots_are_those_that_the_expression_names(cron: str, after: str, expected: list[str]) -> None:
    assert first_slots(cron, "UTC", after, 2) == [f"{slot}+00:00" for slot in expected]


def test_every_shorthand_has_slots() -> None:
    for shorthand in SHORTHANDS:
        assert next_slot(shorthand, "Asia/Tokyo", at("2026-05-04T10:00")) is not None


def test_six_fields_have_the_seconds_first() -> None:
    slots = slots_after("*/20 59 23 * * *", "UTC", at("2026-12-31T23:59:10"))
    expected = ["2026-12-31T23:59:20", "2026-12-31T23:59:40", "2027-01-01T23:59:00"]
    assert list(itertools.islice(slots, 3)) == [at(text) for text in expected]


def test_a_slot_comes_after_the_moment_asked_about_down_to_the_millisecond() -> None:
    slot = at("2026-05-04T10:00")
    assert next_slot("@hourly", "UTC", slot - 1) == slot
    assert next_slot("@hourly", "UTC", slot) == slot + HOUR
    assert next_slot("@hourly", "UTC", slot + 1) == slot + HOUR


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("cron", ["0 0 31 2 *", "* * 30 2 *", "0 0 0 31 2,4,6 *", "0 0 */15 2 MON#5", "* * */15 2 MON#5"])
def test_a_day_that_never_comes_has_no_slot(cron: str, timezone: str) -> None:
    assert next_slot(cron, timezone, at("2026-01-01T00:00")) is None
    assert due_slots(cron, timezone, 0, at("2026-01-01T00:00"), "all", 0) == Due([], 0)


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize("cron", ["* * * * * *", "@daily", "@yearly"])
def test_slots_end_where_the_calendar_does(cron: str, timezone: str) -> None:
    assert next_slot(cron, timezone, LATEST_MS) is None
    before = next_slot(cron, timezone, LATEST_MS - 3 * YEAR)
    assert before is not None
    assert before <= LATEST_MS


def test_a_slot_that_is_still_this_year_only_in_its_own_zone_is_past_the_end_of_the_calendar() -> None:
    assert next_slot("30 23 31 12 *", "America/New_York", at("9999-12-31T12:00")) is None


def test_no_slot_is_before_1970() -> None:
    assert next_slot("@yearly", "UTC", -(2**63)) == 0
    assert next_slot("@daily", "America/New_York", -(2**63)) == 5 * HOUR


@pytest.mark.parametrize("cron", ["", "* * * *", "61 * * * *", "0 0 32 2 *", "0 0 31 2 MUN", "@often"])
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    with pytest.raises(BadInput, match="is not a schedule"):
        next_slot(cron, "UTC", 0)


@pytest.mark.parametrize("timezone", ["Europe/Atlantis", "../etc/passwd", ""])
def test_a_zone_that_the_machine_does_not_know_is_refused_by_name(timezone: str) -> None:
    with pytest.raises(BadInput, match=f"no time zone '{timezone}'"):
        next_slot("@daily", timezone, 0)


IN_A_GAP = [
    # Berlin: 02:00 becomes 03:00 on the 29th of March.
    ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    ("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"]),
    # New York: 02:00 becomes 03:00 on the 8th of March.
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
    ("30 2 8 3 *", "America/New_York", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2027-03-08T02:30-05:00"]),
    ("0 * * * *", "America/New_York", "2026-03-08T06:00", ["2026-03-08T03:00-04:00", "2026-03-08T04:00-04:00"]),
    # Lord Howe: 02:00 becomes 02:30 on the 4th of October.
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
    ("0 0 5 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T05:00+11:00", "2026-10-05T05:00+11:00"]),
    ("*/30 3 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T03:00+11:00", "2026-10-04T03:30+11:00"]),
    ("0 * * * *", "Australia/Lord_Howe", "2026-10-03T14:00", ["2026-10-04T01:00+10:30", "2026-10-04T03:00+11:00"]),
    # São Paulo: midnight became 01:00 on the 4th of November 2018.
    ("@daily", "America/Sao_Paulo", "2018-11-03T12:00", ["2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"]),
    ("0 30 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", ["2018-11-04T01:00-02:00", "2018-11-05T00:30-02:00"]),
    ("*/40 * 4 11 *", "America/Sao_Paulo", "2018-11-03T12:00", ["2018-11-04T01:00-02:00", "2018-11-04T01:40-02:00"]),
    # Apia: there was no 30th of December 2011.
    ("0 8 * * *", "Pacific/Apia", "2011-12-29T20:00", ["2011-12-31T00:00+14:00", "2011-12-31T08:00+14:00"]),
]


@pytest.mark.parametrize(("cron", "timezone", "after", "expected"), IN_A_GAP)
def test_where_the_clock_jumps_ahead_a_fixed_time_comes_right_after_the_gap(
    cron: str, timezone: str, after: str, expected: list[str]
) -> None:
    assert first_slots(cron, timezone, after, 2) == expected


IN_AN_OVERLAP = [
    # Berlin: 03:00 becomes 02:00 again on the 25th of October.
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    ("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    ("30 2,3 * * *", "Europe/Berlin", "2026-10-25T01:15", ["2026-10-25T03:30+01:00", "2026-10-26T02:30+01:00"]),
    ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:10", ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00"]),
    # New York: 02:00 becomes 01:00 again on the 1st of November.
    ("0 1 * * *", "America/New_York", "2026-10-31T12:00", ["2026-11-01T01:00-04:00", "2026-11-02T01:00-05:00"]),
    ("59 * * * *", "America/New_York", "2026-11-01T05:00", ["2026-11-01T01:59-04:00", "2026-11-01T01:59-05:00"]),
    # Lord Howe: 02:00 becomes 01:30 again on the 5th of April.
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
    ("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00", ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]),
    ("0 * * * *", "Australia/Lord_Howe", "2026-04-04T13:30", ["2026-04-05T01:00+11:00", "2026-04-05T02:00+10:30"]),
    ("*/30 2 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["2026-04-05T02:00+10:30", "2026-04-05T02:30+10:30"]),
]


@pytest.mark.parametrize(("cron", "timezone", "after", "expected"), IN_AN_OVERLAP)
def test_where_the_clock_goes_back_a_fixed_time_comes_once_and_a_starred_one_each_time(
    cron: str, timezone: str, after: str, expected: list[str]
) -> None:
    assert first_slots(cron, timezone, after, 2) == expected


@pytest.mark.parametrize(
    ("timezone", "day"),
    [("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("Australia/Lord_Howe", "2026-10-04")],
)
def test_a_job_of_every_minute_misses_no_minute_of_a_day_with_a_change_of_the_clock(timezone: str, day: str) -> None:
    start = at(f"{day}T00:00") - 12 * HOUR
    slots = itertools.islice(slots_after("* * * * *", timezone, start), 24 * 60)
    assert list(slots) == list(range(start + MINUTE, start + DAY + MINUTE, MINUTE))


CATCH_UPS: list[CatchUp] = ["latest", "none", "all"]


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_each_slot_fires_as_it_becomes_due(catch_up: CatchUp) -> None:
    last = at("2026-05-04T10:00")
    slot = last + HOUR
    assert due_slots("@hourly", "UTC", last, slot - 1, catch_up, 5000) == Due([], last)
    assert due_slots("@hourly", "UTC", last, slot, catch_up, 5000) == Due([slot], slot)
    assert due_slots("@hourly", "UTC", last, slot + 4999, catch_up, 5000) == Due([slot], slot)
    assert due_slots("@hourly", "UTC", slot, slot + 4999, catch_up, 5000) == Due([], slot)


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_a_timer_that_is_a_little_late_skips_nothing(catch_up: CatchUp) -> None:
    last = at("2026-05-04T10:00")
    due = due_slots("* * * * * *", "UTC", last, last + 3500, catch_up, 5000)
    assert due == Due([last + 1000, last + 2000, last + 3000], last + 3000)


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_a_slot_that_is_late_by_just_the_grace_is_in_time(catch_up: CatchUp) -> None:
    last = at("2026-05-04T10:00")
    both = Due([last + 1000, last + 2000], last + 2000)
    assert due_slots("* * * * * *", "UTC", last, last + 2000, catch_up, 1000) == both
    fires = {"latest": both.fire[1:], "none": both.fire[1:], "all": both.fire}[catch_up]
    assert due_slots("* * * * * *", "UTC", last, last + 2001, catch_up, 1000) == Due(fires, last + 2000)


def test_a_slot_of_the_first_time_round_is_found_during_the_second() -> None:
    slot = at("2026-10-25T02:30+02:00")
    due = due_slots("30 2 * * *", "Europe/Berlin", slot - DAY, at("2026-10-25T02:15+01:00"), "latest", 5000)
    assert due == Due([slot], slot)


@pytest.mark.parametrize(("catch_up", "hours"), [("latest", [13]), ("none", []), ("all", [11, 12, 13])])
def test_after_downtime_catch_up_says_which_missed_slots_fire(catch_up: CatchUp, hours: list[int]) -> None:
    due = due_slots("@hourly", "UTC", at("2026-05-04T10:00"), at("2026-05-04T13:20"), catch_up, 5000)
    assert due == Due([at(f"2026-05-04T{hour}:00") for hour in hours], at("2026-05-04T13:00"))


@pytest.mark.parametrize(("catch_up", "hours"), [("latest", [13]), ("none", [13]), ("all", [11, 12, 13])])
def test_a_slot_in_time_fires_also_when_others_before_it_were_missed(catch_up: CatchUp, hours: list[int]) -> None:
    due = due_slots("@hourly", "UTC", at("2026-05-04T10:00"), at("2026-05-04T13:00:05"), catch_up, 5000)
    assert due == Due([at(f"2026-05-04T{hour}:00") for hour in hours], at("2026-05-04T13:00"))


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_a_clock_that_was_set_back_fires_nothing_again(catch_up: CatchUp) -> None:
    last = at("2026-05-04T10:00")
    assert due_slots("* * * * *", "UTC", last, last - HOUR, catch_up, 5000) == Due([], last)
    assert due_slots("* * * * *", "UTC", last, 0, catch_up, 5000) == Due([], last)


@pytest.mark.timeout(10)  # walking through every missed slot would take hours
@pytest.mark.parametrize(("catch_up", "fires"), [("latest", 1), ("none", 6), ("all", MOST_CAUGHT_UP)])
@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
def test_every_second_after_decades_down_does_not_walk_through_the_missed_slots(
    catch_up: CatchUp, fires: int, timezone: str
) -> None:
    now = at("2026-05-04T10:00")
    due = due_slots("* * * * * *", timezone, 0, now + 999, catch_up, 5999)
    assert due == Due(list(range(now - (fires - 1) * 1000, now + 1, 1000)), now)


def test_catching_up_all_takes_the_newest_hundred_across_a_change_of_the_clock() -> None:
    now = at("2026-10-26T00:00")
    fired, last = due_slots("*/15 * * * *", "Europe/Berlin", now - YEAR, now, "all", 0)
    assert fired == list(range(now - 99 * 15 * MINUTE, now + 1, 15 * MINUTE))
    assert last == now


CHANGES = [
    ("Europe/Berlin", at("2026-03-29T01:00")),
    ("Europe/Berlin", at("2026-10-25T01:00")),
    ("America/New_York", at("2026-03-08T07:00")),
    ("America/New_York", at("2026-11-01T06:00")),
    ("Australia/Lord_Howe", at("2026-04-04T15:00")),
    ("Australia/Lord_Howe", at("2026-10-03T15:30")),
    ("America/Sao_Paulo", at("2018-11-04T03:00")),
    ("Pacific/Apia", at("2011-12-30T10:00")),
    ("UTC", at("2026-12-31T23:59")),
]
crons = st.builds(
    "{} {} {}".format,
    st.sampled_from(["*", "*/20", "0", "30", "15,45", "0-59/25"]),
    st.sampled_from(["*", "*/2", "0", "1", "2", "1-3", "0-23"]),
    st.sampled_from(["* * *", "*/2 * *", "1 * *", "* * SUN", "L * SAT", "* 3,10,12 *"]),
)
seconds = st.sampled_from(["", "", "0 ", "30 ", "*/25 "])


def watched(cron: str, timezone: str, start: int, end: int) -> list[int]:
    """The slots that somebody finds who watches the clocks of a zone minute by minute."""
    begin = start - 2 * DAY
    shown = {moment: wall_time(moment, timezone) for moment in range(begin, end + MINUTE, MINUTE)}
    matches = itertools.takewhile(lambda wall: wall <= max(shown.values()), CronSim(cron, shown[begin]))
    if any(field.startswith("*") for field in cron.split()[:2]):
        named = set(matches)
        return [moment for moment, wall in shown.items() if moment > start and wall in named]
    found = set()
    awaited = next(matches, None)
    for moment, wall in shown.items():
        while awaited is not None and awaited <= wall:
            found.add(moment)
            awaited = next(matches, None)
    return sorted(moment for moment in found if moment > start)


def wall_time(moment: int, timezone: str) -> datetime:
    return datetime.fromtimestamp(moment / 1000, ZoneInfo(timezone)).replace(tzinfo=None)


@settings(deadline=None, max_examples=40)
@given(crons, st.sampled_from(CHANGES))
def test_around_a_change_of_the_clock_the_slots_are_those_found_minute_by_minute(cron: str, change: tuple[str, int]) -> None:
    timezone, moment = change
    start, end = moment - 4 * HOUR, moment + 4 * HOUR
    slots = list(itertools.takewhile(lambda slot: slot <= end, slots_after(cron, timezone, start)))
    assert slots == watched(cron, timezone, start, end)


@settings(deadline=None)
@given(seconds, crons, st.sampled_from(CHANGES), st.integers(-2 * DAY, 2 * DAY), st.integers(0, 3 * HOUR))
def test_slots_only_increase_and_are_the_same_seen_from_either_side(
    second: str, cron: str, change: tuple[str, int], distance: int, length: int
) -> None:
    timezone, moment = change
    after = moment + distance
    now = after + length
    slots = list(itertools.takewhile(lambda slot: slot <= now, slots_after(second + cron, timezone, after)))
    assert all(earlier < later for earlier, later in itertools.pairwise([after, *slots]))
    last = slots[-1] if slots else after
    assert due_slots(second + cron, timezone, after, now, "all", 0) == Due(slots[-MOST_CAUGHT_UP:], last)


@settings(deadline=None)
@given(
    seconds,
    crons,
    st.sampled_from(CHANGES),
    st.sampled_from(CATCH_UPS),
    st.integers(0, HOUR),
    st.lists(st.integers(-3 * HOUR, 5 * HOUR), max_size=12),
)
def test_however_the_clock_moves_each_slot_fires_at_most_once_and_never_early(
    second: str, cron: str, change: tuple[str, int], catch_up: CatchUp, grace_ms: int, moves: list[int]
) -> None:
    timezone, moment = change
    now = last = start = moment - 6 * HOUR
    fired: list[int] = []
    for move in moves:
        now += move
        due = due_slots(second + cron, timezone, last, now, catch_up, grace_ms)
        assert len(due.fire) <= MOST_CAUGHT_UP
        assert due.last >= last
        assert all(last < slot <= now for slot in due.fire)
        fired += due.fire
        last = due.last
    assert all(earlier < later for earlier, later in itertools.pairwise([start, *fired]))
    assert all(next_slot(second + cron, timezone, slot - 1) == slot for slot in fired)
