"""What happened in a run over time: rows of segments, with long stretches in which nothing executes cut short.

The time axis begins when the run was created. A stretch of more than a fifth of the whole in which nothing executes takes only
a few hundredths of the width, because a sleep of a day would make every other bar a pixel wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple

from tako_lite.web.text import milliseconds, span

Document = dict[str, Any]
Kind = Literal["scheduled", "queued", "executing", "parked", "backoff", "done", "failed", "waited", "open"]

WAITING: Final = frozenset({"sleep", "signal", "child"})
"""The kinds of steps that only wait."""
FAILED: Final = frozenset({"failed", "timeout", "crashed", "dead"})
PAUSES: Final[Mapping[str, Kind]] = {
    "parked": "parked",
    "postponed": "scheduled",
    **dict.fromkeys(("failed", "timeout", "crashed"), "backoff"),
}
"""What a run does after an attempt that ended so; after all others it is in the queue."""
_NAMES: Final[Mapping[Kind, str]] = {
    "parked": "parked",
    "scheduled": "postponed",
    "backoff": "waiting for the next attempt",
    "queued": "in the queue",
}
LONG: Final = 0.2
"""The part of the whole from which an idle stretch is cut."""
CUT: Final = 0.045
"""The part of the width that a cut stretch takes."""
MOST_ROWS: Final = 300
AT_THE_ENDS: Final = 100
"""Of a run with more steps, so many of the first and of the last are shown, and as many that failed or took long."""


class Segment(NamedTuple):
    """A bar; `left` and `width` are parts of the whole width."""

    kind: Kind
    left: float
    width: float
    title: str
    failed: bool = False


class Cut(NamedTuple):
    """A stretch of time that was cut short."""

    left: float
    width: float
    label: str


class Row(NamedTuple):
    """A row: the run itself, or one of its steps or waits."""

    name: str
    icon: str
    anchor: str | None
    """The id of the row's line in the table of steps; None for the run."""
    segments: tuple[Segment, ...]
    took: str
    child: str | None = None
    """The id of the run that a step started."""


class Waterfall(NamedTuple):
    """The rows of a run."""

    rows: tuple[Row, ...]
    cuts: tuple[Cut, ...]
    hidden: int
    """How many steps have no row."""


class _Span(NamedTuple):
    """A stretch of time in milliseconds since 1970."""

    kind: Kind
    begin: int
    end: int
    title: str
    failed: bool = False


class _Line(NamedTuple):
    name: str
    icon: str
    anchor: str | None
    spans: tuple[_Span, ...]
    child: str | None = None


def waterfall(run: Document, now: int, *, cut_gaps: bool = True) -> Waterfall:
    """The rows of a run in the shape of `show`."""
    lines = [*_steps(run, now)]
    shown = _chosen(lines)
    begin = milliseconds(run["created_at"])
    end = max(_end(run, now), begin + 1, *(span.end for line in lines for span in line.spans))
    head = _Line(run["workflow"], _state_icon(run), None, tuple(_of_run(run, now)))
    scale = _Scale(begin, end, _idle(head, begin, end) if cut_gaps else ())
    return Waterfall(
        tuple(_row(line, scale) for line in (head, *shown)), tuple(map(scale.cut, scale.gaps)), len(lines) - len(shown)
    )


def _end(run: Document, now: int) -> int:
    return milliseconds(run["finished_at"]) if run["finished_at"] else now


def _state_icon(run: Document) -> str:
    return "due" if run["state"] == "pending" else str(run["state"])


def _steps(run: Document, now: int) -> Iterable[_Line]:
    """A line for each step and each open wait, in the order in which they began."""
    tries = _tries(run)
    lines: dict[str, _Line] = {}
    for step in run.get("steps") or ():
        name, kind = step["name"], step["kind"]
        spans = tuple(_of_step(step, now)) if name not in tries else tuple(_with_pauses(name, tries[name]))
        child = step["result"] if kind == "enqueue" and isinstance(step["result"], str) else None
        lines[name] = _Line(name, kind, f"step-{name}", spans, child)
    for step in run.get("in_flight") or ():
        name = step["name"]
        begin = milliseconds(step["started_at"])
        now_executing = _Span("executing", begin, max(now, begin), f"{name}: executing for {span(max(0, now - begin) / 1000)}")
        before = lines[name].spans if name in lines else ()
        lines[name] = _Line(name, "run", f"step-{name}", (*_up_to(name, before, begin), now_executing))
    for wait in run.get("waits") or ():
        name = wait["name"]
        known = lines.get(name)
        begin = max(milliseconds(wait["started_at"]), known.spans[-1].end if known else 0)
        title = f"{name}: has been waiting for {span(max(0, now - begin) / 1000)}"
        waiting = _Span("backoff" if wait["kind"] == "retry" else "open", begin, max(now, begin), title)
        if known:
            lines[name] = known._replace(spans=(*known.spans, waiting))
        else:
            child = wait["key"] if wait["kind"] == "child" else None
            lines[name] = _Line(name, wait["kind"], f"step-{name}", (waiting,), child)
    return sorted(lines.values(), key=lambda line: (line.spans[0].begin, line.spans[-1].end))


def _up_to(name: str, before: tuple[_Span, ...], begin: int) -> tuple[_Span, ...]:
    """The earlier tries of a step that is being tried again, and the pause before that."""
    if not before or before[-1].end >= begin:
        return before
    pause = begin - before[-1].end
    return (*before, _Span("backoff", before[-1].end, begin, f"{name}: {span(pause / 1000)} until the next try"))


def _of_step(step: Document, now: int) -> Iterable[_Span]:
    """The one bar of a step of whose tries nothing is known."""
    begin = milliseconds(step["started_at"])
    end = milliseconds(step["finished_at"]) if step["finished_at"] else now
    failed = step["state"] == "failed"
    kind: Kind = "failed" if failed else "waited" if step["kind"] in WAITING else "done"
    tries = f", {step['attempts']} tries" if step["attempts"] > 1 else ""
    yield _Span(kind, begin, end, f"{step['name']}: {step['state']} after {span((end - begin) / 1000)}{tries}", failed)


def _tries(run: Document) -> dict[str, list[Document]]:
    """The recorded tries of each step."""
    found: dict[str, list[Document]] = {}
    for attempt in run.get("history") or ():
        if attempt["step"] is not None:
            found.setdefault(attempt["step"], []).append(attempt)
    return found


def _with_pauses(name: str, tries: Sequence[Document]) -> Iterable[_Span]:
    """The tries of a step, and the pauses between them."""
    at: int | None = None
    for each in tries:
        begin, end = milliseconds(each["started_at"]), milliseconds(each["ended_at"])
        if at is not None and begin > at:
            yield _Span("backoff", at, begin, f"{name}: {span((begin - at) / 1000)} until the next try")
        failed = each["kind"] != "succeeded"
        title = f"{name}: try {each['number']} {each['kind']} after {span((end - begin) / 1000)}"
        yield _Span("failed" if failed else "done", begin, end, title, failed)
        at = end


def _chosen(lines: Sequence[_Line]) -> Sequence[_Line]:
    if len(lines) <= MOST_ROWS:
        return lines
    middle = range(AT_THE_ENDS, len(lines) - AT_THE_ENDS)
    telling = sorted(middle, key=lambda n: (not lines[n].spans[-1].failed, lines[n].spans[0].begin - lines[n].spans[-1].end))
    kept = {*telling[:AT_THE_ENDS], *range(AT_THE_ENDS), *range(len(lines) - AT_THE_ENDS, len(lines))}
    return [lines[n] for n in sorted(kept)]


def _of_run(run: Document, now: int) -> Iterable[_Span]:
    """The segments of the run itself: scheduled, in the queue, and from its start on executing or between attempts."""
    attempts = [*_attempts(run, now)]
    created, due, end = milliseconds(run["created_at"]), milliseconds(run["run_at"]), _end(run, now)
    started = attempts[0].begin if attempts else end
    if due > created and (due <= started or not attempts):  # a later attempt moves the time at which the run is due
        yield _Span("scheduled", created, min(due, started), f"scheduled for {span((min(due, started) - created) / 1000)}")
        created = min(due, started)
    if started > created:
        yield _Span("queued", created, started, f"in the queue for {span((started - created) / 1000)}")
    for attempt, following in zip_longest(attempts, attempts[1:]):
        title = f"attempt {attempt.number}, {attempt.kind}: executing for {span((attempt.end - attempt.begin) / 1000)}"
        yield _Span("executing", attempt.begin, attempt.end, title, attempt.kind in FAILED)
        until = following.begin if following else end
        if until > attempt.end:
            kind = PAUSES.get(attempt.kind, "queued")
            yield _Span(kind, attempt.end, until, f"{_NAMES[kind]} for {span((until - attempt.end) / 1000)}")


class _Attempt(NamedTuple):
    number: int
    kind: str
    begin: int
    end: int


def _attempts(run: Document, now: int) -> Iterable[_Attempt]:
    """The recorded attempts, and the one that is under way or succeeded at once, which has no record."""
    recorded = [attempt for attempt in run.get("history") or () if attempt["step"] is None]
    for attempt in recorded:
        times = milliseconds(attempt["started_at"]), milliseconds(attempt["ended_at"])
        yield _Attempt(attempt["number"], attempt["kind"], *times)
    began = run["claimed_at"] or run["started_at"]
    if began is not None and (run["state"] == "running" or not recorded):
        yield _Attempt(run["attempts"] + (run["state"] == "running"), run["state"], milliseconds(began), _end(run, now))


def _idle(head: _Line, begin: int, end: int) -> Sequence[tuple[int, int]]:
    """The long stretches in which no attempt executes."""
    gaps, at = [], begin
    for executing in head.spans:
        if executing.kind == "executing":
            gaps.append((at, executing.begin))
            at = executing.end
    gaps.append((at, end))
    return [gap for gap in gaps if gap[1] - gap[0] > max(LONG * (end - begin), 1000)] if at > begin else ()


def _row(line: _Line, scale: _Scale) -> Row:
    segments = tuple(
        Segment(span.kind, left := scale.at(span.begin), scale.at(span.end) - left, span.title, span.failed)
        for span in line.spans
    )
    took = span((line.spans[-1].end - line.spans[0].begin) / 1000) if line.spans else ""
    return Row(line.name, line.icon, line.anchor, segments, took, line.child)


class _Scale:
    """Maps times to parts of the width."""

    def __init__(self, begin: int, end: int, gaps: Sequence[tuple[int, int]]) -> None:
        self.gaps = gaps
        self._begin = begin
        kept = (end - begin) - sum(to - from_ for from_, to in gaps)
        self._per_ms = (1 - CUT * len(gaps)) / max(kept, 1)

    def at(self, moment: int) -> float:
        """The place of a time, from 0 to 1."""
        place, at = 0.0, self._begin
        for from_, to in self.gaps:
            if moment <= from_:
                break
            place += (from_ - at) * self._per_ms + CUT * (min(moment, to) - from_) / (to - from_)
            at = min(moment, to)
        return min(max(place + (moment - at) * self._per_ms, 0.0), 1.0)

    def cut(self, gap: tuple[int, int]) -> Cut:
        """A gap as it is drawn."""
        return Cut(left := self.at(gap[0]), self.at(gap[1]) - left, span((gap[1] - gap[0]) / 1000))
