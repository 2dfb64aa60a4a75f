"""What happened in a run over time: rows of segments, with long stretches in which nothing executes cut short.

The time axis begins when the run was created. A stretch of more than a fifth of the whole in which nothing executes takes only
a few hundredths of the width, because a sleep of a day would make every other bar a pixel wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from tako_lite.web.text import milliseconds, span

Document = dict[str, Any]
Kind = Literal["scheduled", "queued", "executing", "parked", "backoff", "done", "failed", "waited", "open", "unknown"]

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
    head = _Line(run["workflow"], _state_icon(run), None, tuple(_of_run(run, lines, now)))
    scale = _Scale(begin, end, _idle(lines, begin, end) if cut_gaps else ())
    return Waterfall(
        tuple(_row(line, scale) for line in (head, *shown)), tuple(map(scale.cut, scale.gaps)), len(lines) - len(shown)
    )


def _end(run: Document, now: int) -> int:
    return milliseconds(run["finished_at"]) if run["finished_at"] else now


def _state_icon(run: Document) -> str:
    return "due" if run["state"] == "pending" else str(run["state"])


def _steps(run: Document, now: int) -> Iterable[_Line]:
    """A line for each step and each open wait, in the order in which they began."""
    lines: dict[str, _Line] = {}
    for step in run.get("steps") or ():
        kind = step.get("kind") or "run"
        begin = milliseconds(step["started_at"])
        end = milliseconds(step["finished_at"]) if step["finished_at"] else now
        failed = step["state"] == "failed"
        bar: Kind = "failed" if failed else "waited" if kind in ("sleep", "signal", "child") else "done"
        tries = f", {step['attempts']} tries" if step["attempts"] > 1 else ""
        title = f"{step['name']}: {'failed' if failed else 'done'} after {span((end - begin) / 1000)}{tries}"
        child = step["result"].get("id") if kind == "enqueue" and isinstance(step["result"], dict) else None
        lines[step["name"]] = _Line(step["name"], kind, f"step-{step['name']}", (_Span(bar, begin, end, title, failed),), child)
    for wait in run.get("waits") or ():
        lines_of_step = lines.get(wait["name"])
        since = wait.get("started_at") or (run["started_at"] or run["created_at"])
        begin = max(milliseconds(since), lines_of_step.spans[-1].end if lines_of_step else 0)
        kind_of_bar: Kind = "backoff" if wait["kind"] == "retry" else "open"
        title = f"{wait['name']}: has been waiting for {span(max(0, now - begin) / 1000)}"
        waiting = _Span(kind_of_bar, begin, max(now, begin), title)
        child = wait["key"] if wait["kind"] == "child" else None
        if lines_of_step:
            lines[wait["name"]] = lines_of_step._replace(spans=(*lines_of_step.spans, waiting))
        else:
            lines[wait["name"]] = _Line(wait["name"], wait["kind"], f"step-{wait['name']}", (waiting,), child)
    return sorted(lines.values(), key=lambda line: (line.spans[0].begin, line.spans[-1].end))


def _chosen(lines: Sequence[_Line]) -> Sequence[_Line]:
    if len(lines) <= MOST_ROWS:
        return lines
    middle = range(AT_THE_ENDS, len(lines) - AT_THE_ENDS)
    telling = sorted(middle, key=lambda n: (not lines[n].spans[-1].failed, lines[n].spans[0].begin - lines[n].spans[-1].end))
    kept = {*telling[:AT_THE_ENDS], *range(AT_THE_ENDS), *range(len(lines) - AT_THE_ENDS, len(lines))}
    return [lines[n] for n in sorted(kept)]


def _of_run(run: Document, lines: Sequence[_Line], now: int) -> Iterable[_Span]:
    """The segments of the run itself: scheduled, queued, and from its start on executing or parked."""
    created, due = milliseconds(run["created_at"]), milliseconds(run["run_at"])
    started = milliseconds(run["started_at"]) if run["started_at"] else None
    end = _end(run, now)
    until = end if started is None else started
    if started is None or due <= started:  # else it was delayed again after its first attempt, and its first time is not known
        due = min(max(due, created), until)
        if due > created:
            yield _Span("scheduled", created, due, f"scheduled for {span((due - created) / 1000)}")
        created = due
    if until > created:
        yield _Span("queued", created, until, f"in the queue for {span((until - created) / 1000)}")
    if started is not None:
        yield from _after_start(run, lines, started, end)


def _after_start(run: Document, lines: Sequence[_Line], started: int, end: int) -> Iterable[_Span]:
    dead = run["state"] == "dead"
    at = started
    for begin, stop in _parked(lines, started, end):
        if begin > at:
            yield _Span("executing", at, begin, f"executing for {span((begin - at) / 1000)}")
        yield _Span("parked", begin, stop, f"parked for {span((stop - begin) / 1000)}")
        at = stop
    if end > at or at == started:
        yield _Span("executing", at, max(end, at), f"executing for {span((end - at) / 1000)}", dead)


def _parked(lines: Sequence[_Line], started: int, end: int) -> list[tuple[int, int]]:
    """When only waits were under way, for longer than a run waits before it parks."""
    busy = _merged((s.begin, s.end) for line in lines for s in line.spans if s.kind in ("done", "failed"))
    parked = _merged((s.begin, s.end) for line in lines for s in line.spans if s.kind in ("waited", "open", "backoff"))
    found = []
    for begin, stop in parked:
        at = max(begin, started)
        for from_, to in busy:
            if to <= at or from_ >= stop:
                continue
            if from_ > at:
                found.append((at, from_))
            at = max(at, to)
        if min(stop, end) > at:
            found.append((at, min(stop, end)))
    return [(begin, stop) for begin, stop in found if stop - begin > 50]


def _idle(lines: Sequence[_Line], begin: int, end: int) -> Sequence[tuple[int, int]]:
    """The long stretches in which no step executes."""
    gaps, at = [], begin
    for from_, to in _merged((s.begin, s.end) for line in lines for s in line.spans if s.kind in ("done", "failed")):
        if from_ > at:
            gaps.append((at, from_))
        at = max(at, to)
    if end > at and lines:
        gaps.append((at, end))
    return [gap for gap in gaps if gap[1] - gap[0] > max(LONG * (end - begin), 1000)] if lines else ()


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


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
