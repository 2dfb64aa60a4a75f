"""Schedules that would fire at other times than they seem to, or never, are mistakes with a remedy."""

from __future__ import annotations

import pytest

from tako_lite.catalog import schedule_problem


@pytest.mark.parametrize(
    ("schedule", "term", "selects"),
    [
        ("*/90 * * * *", "*/90", "minute 0"),
        ("*/61 * * * *", "*/61", "minute 0"),
        ("0 */25 * * *", "*/25", "hour 0"),
        ("0 */36 * * *", "*/36", "hour 0"),
        ("0 0 */32 * *", "*/32", "day-of-month 1"),
        ("0 0 1 */13 *", "*/13", "month 1"),
        ("0 0 * * */8", "*/8", "day-of-week 0"),
        ("*/90 * * * * *", "*/90", "second 0"),
        ("1-5/9 * * * *", "1-5/9", "minute 1"),
        ("0 9-17/9 * * *", "9-17/9", "hour 9"),
        ("50/15 * * * *", "50/15", "minute 50"),
        ("0,10,1-5/9 * * * *", "1-5/9", "minute 1"),
        ("0 0 * * MON-FRI/5", "MON-FRI/5", "day-of-week 1"),
    ],
)
def test_a_step_that_selects_one_value_is_a_mistake_that_names_it(schedule: str, term: str, selects: str) -> None:
    found = schedule_problem(schedule)
    assert found is not None
    assert f"the step of {term} reaches beyond its field: it selects {selects} alone" in found.message or (
        f"the step of {term} reaches beyond its field: {selects} is all that it selects" in found.message
    )
    assert (found.hint or "").startswith(f"write {selects.split()[-1]} instead")


@pytest.mark.parametrize(
    "schedule",
    [
        *("*/5 * * * *", "*/30 * * * *", "*/45 * * * *", "*/59 * * * *", "0 */12 * * *", "0 */23 * * *", "0 0 */2 * *"),
        *("0 0 1 */6 *", "0 0 1 */11 *", "0 0 * * */2", "0 0 * * MON/2", "5/10 * * * *", "0-30/10 * * * *", "*/1 * * * *"),
        *("*/60 * * * *", "*/60 * * * * *", "0 */24 * * *", "0 0 1 */12 *", "0 0 * * */7"),
        *("0 0 * * MON-FRI", "0 0 * * 5-7", "0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "0 0 * * MON#1", "0 0 29 2 *"),
        *("@daily", "@Hourly", "*/10 * * * * *", "0 0 1 JAN,JUL *", "0 0 30 2,4 *"),
    ],
)
def test_schedules_that_fire_as_they_read_are_no_mistakes(schedule: str) -> None:
    assert schedule_problem(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [
        ("50-10 * * * *", "a range must ascend: split 50-10 in two with a comma"),
        ("0 22-6 * * *", "split 22-6 in two"),
        ("0 0 * * FRI-MON", "split FRI-MON in two"),
        ("0 0 * * FRI-SUN", "Sunday is also 7"),
        ("0 0 1 NOV-FEB *", "split NOV-FEB in two"),
        ("0 0 31 2 *", "no month of 2 has a day 31, so it would never fire"),
        ("0 0 31 4,6,9,11 *", "has a day 31, so it would never fire"),
        ("0 0 L/2 * *", "write L, not L/2"),
        ("*/0 * * * *", "five fields"),
        ("70/5 * * * *", "five fields"),
        ("* * * *", "five fields"),
        ("@reboot", "the shorthands are"),
    ],
)
def test_invalid_schedules_are_reported_with_what_to_write(schedule: str, hint: str) -> None:
    found = schedule_problem(schedule)
    assert found is not None
    assert hint in (found.hint or "") or "instead of" in (found.hint or "")
