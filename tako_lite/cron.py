"""When a schedule fires: its slots as moments, in any time zone, forwards and backwards.

cronsim matches wall times; from a wall time to a moment is decided here, after Debian's cron. Where minute and hour are
both *fixed* (neither starts with `*`), each wall time happens once: in a gap right after the gap, in an overlap the first
time round. Any other expression follows elapsed time: it fires at each moment whose wall time matches, so it goes through
an overlap twice. cronsim does the same by itself for five fields, but not for six, and it loses slots where the clock
moves by half an hour.

Inside of this module moments and wall times are whole seconds; outside, moments are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from tako_lite.catalog.schedule import cron_of
from tako_lite.clock import EARLIEST_MS, LATEST_MS
from tako_lite.errors import BadInput
from tako_lite.options import CatchUp

MOST_CAUGHT_UP: Final = 100
"""The most slots that one call of `due_slots` fires; older ones are passed over."""

Direction = Literal[1, -1]

_EPOCH: Final = datetime(1970, 1, 1)  # wall times have no zone
_SECOND: Final = timedelta(seconds=1)
_WEEK: Final = 7 * 24 * 3600


class Due(NamedTuple):
    """The slots to fire, oldest first, and the slot up to which everything is dealt with then."""

    fire: list[int]
    last: int


def next_slot(cron: str, timezone: str, after: int) -> int | None:
    """The first slot after a moment, or None where none follows within 50 years.

    `cron` has five or six fields or is a shorthand. BadInput: it is neither, or this machine does not know the zone.
    """
    second = max(after, EARLIEST_MS - 1) // 1000
    slot = _neighbour(cron, timezone, second, 1)
    return None if slot is None or slot * 1000 > LATEST_MS else slot * 1000


def due_slots(cron: str, timezone: str, last: int, now: int, catch_up: CatchUp, grace_ms: int) -> Due:
    """What to fire at `now`, when everything up to the slot `last` is done.

    A slot that is at most `grace_ms` late is in time. Older ones were missed: `latest` then fires only the newest slot of
    all, `none` only those in time, `all` every one. The work does not grow with the number of missed slots. A clock that
    was set back behind `last` fires nothing until it has caught up.
    """
    oldest = next_slot(cron, timezone, last)
    if oldest is None or oldest > now:
        return Due([], last)
    in_time = now - grace_ms
    following = next_slot(cron, timezone, oldest)
    if following is None or following > now:  # one slot is due, as ever while the daemon runs
        return Due([oldest] if catch_up != "none" or oldest >= in_time else [], oldest)
    newest = next(_backwards(cron, timezone, last, now), oldest)
    if catch_up == "latest" and oldest < in_time:
        return Due([newest], newest)
    since = max(last, in_time - 1) if catch_up == "none" else last
    return Due([*_backwards(cron, timezone, since, now)][::-1], newest)


def _backwards(cron: str, timezone: str, since: int, now: int) -> Iterator[int]:
    """The newest slots after `since` and up to `now`, newest first."""
    second = now // 1000 + 1
    for _ in range(MOST_CAUGHT_UP):
        if second * 1000 <= since:
            return
        slot = _neighbour(cron, timezone, second, -1)
        if slot is None or slot * 1000 <= since:
            return
        yield slot * 1000
        second = slot


@lru_cache(maxsize=256)
def _neighbour(cron: str, timezone: str, origin: int, direction: Direction) -> int | None:
    """The first slot after (1) or before (-1) a moment."""
    cron, zone = cron_of(cron), _zone(timezone)
    find = _once_a_wall_time if _is_fixed(cron) else _by_elapsed_time
    try:
        return find(cron, zone, origin, direction)
    except OverflowError:  # the calendar ends with the year 9999
        return None


def _zone(timezone: str) -> tzinfo:
    """A time zone of the system; UTC needs no zone data."""
    if timezone == "UTC":
        return UTC
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(f"there is no time zone {timezone!r} on this machine", hint="is tzdata installed?") from error


def _is_fixed(cron: str) -> bool:
    minute_and_hour = cron.split()[-5:-3]
    return not any(field.startswith("*") for field in minute_and_hour)


def _once_a_wall_time(cron: str, zone: tzinfo, origin: int, direction: Direction) -> int | None:
    local = _local(zone, origin)
    wall = _seconds(local)
    if direction < 0 and local.fold:
        # The second time round: later wall times than this one have been, the first time round.
        wall += origin - _moment(zone, wall)
    for match in _wall_times(cron, wall, direction):
        slot = _moment(zone, match)
        if (slot - origin) * direction > 0:
            return slot
    return None


def _by_elapsed_time(cron: str, zone: tzinfo, origin: int, direction: Direction) -> int | None:
    start = origin + direction
    while True:
        offset = _offset(zone, start)
        match = next(_wall_times(cron, start - direction + offset, direction), None)
        if match is None:
            return None
        slot = match - offset
        changed = _change(zone, start, slot)
        if changed is None:
            return slot
        start = changed


def _wall_times(cron: str, origin: int, direction: Direction) -> Iterator[int]:
    """The wall times that match, going away from one that is left out."""
    wall = _EPOCH + origin * _SECOND
    try:
        matches = CronSim(cron, wall, reverse=direction < 0)
    except CronSimError as error:
        if _names_a_day_that_never_comes(cron):
            return
        raise BadInput(f"{cron!r} is not a schedule: {str(error).lower()}") from error
    for match in matches:
        yield _seconds(match)


def _names_a_day_that_never_comes(cron: str) -> bool:
    """Whether only the month is what cronsim refuses, as in `0 0 31 2 *`."""
    fields = cron.split()
    fields[-2:-1] = ["*"]
    try:
        CronSim(" ".join(fields), _EPOCH)
    except CronSimError:
        return False
    return True


def _moment(zone: tzinfo, wall: int) -> int:
    """When a clock first shows a wall time; for one inside of a gap, the end of the gap."""
    local = (_EPOCH + wall * _SECOND).replace(tzinfo=zone)
    first, second = (wall - _offset_of(local.replace(fold=fold)) for fold in (0, 1))
    # In a gap the two are the wrong way round, and the change of the clock lies between them.
    return first if first <= second else _change(zone, second, first) or first


def _change(zone: tzinfo, start: int, end: int) -> int | None:
    """The first moment on the way from `start` to `end`, in either direction, with another offset than `start`."""
    offset = _offset(zone, start)
    stride = _WEEK if end > start else -_WEEK
    near = far = start
    while far != end:
        far = min(far + stride, end) if stride > 0 else max(far + stride, end)
        if _offset(zone, far) != offset:
            break
        near = far
    else:
        return None
    while abs(far - near) > 1:
        middle = (near + far) // 2
        near, far = (middle, far) if _offset(zone, middle) == offset else (near, middle)
    return far


def _local(zone: tzinfo, moment: int) -> datetime:
    return (_EPOCH + moment * _SECOND).replace(tzinfo=UTC).astimezone(zone)


def _offset(zone: tzinfo, moment: int) -> int:
    return _offset_of(_local(zone, moment))


def _offset_of(local: datetime) -> int:
    return (local.utcoffset() or timedelta()) // _SECOND


def _seconds(local: datetime) -> int:
    """A wall time as seconds since the same clock showed 1970."""
    return (local.replace(tzinfo=None) - _EPOCH) // _SECOND
