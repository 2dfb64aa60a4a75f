"""`why RUN`: one sentence that explains the state of a run.

`_pending` checks in order what can keep a due run from starting; the sentence names the first that applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tako_lite.clock import iso
from tako_lite.reached import sentence as about_step
from tako_lite.records import Run, RunWait
from tako_lite.units import counted, duration_text

LONGEST_MESSAGE: Final = 300
MOST_STEPS: Final = 3
MOST_AHEAD: Final = 10_000
"""How many runs ahead of a run are counted: a long queue must not make the question slow."""
_ALONE: Final = frozenset({"suspect_limit", "suspect_rate"})
FINAL: Final = frozenset({"bad_payload", "bad_input", "not_json", "too_large", "step_error", "failed"})
"""Reasons for which a run is not tried again, even if it has attempts left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyContext:
    """What the sentence needs to know besides the run; the defaults describe a project without a daemon."""

    now: int
    has_daemon: bool = False
    is_stopping: bool = False
    """Whether the daemon is shutting down, so that it starts no more runs."""
    trouble: str | None = None
    """Why the queue cannot be written at the moment."""
    is_paused: bool = False
    group_error: str | None = None
    """Why the group's last worker failed to start."""
    next_try: float | None = None
    """Seconds until the group tries to start the next worker."""
    taking: int = 0
    """The number of the group's workers that accept runs like this one; suspects have separate workers."""
    starting: int = 0
    """The number of such workers that are starting."""
    ahead: int = 0
    """The number of due runs of this kind that start before it; one more than `MOST_AHEAD` stands for any larger number."""
    limit_holders: str | None = None
    """A clause that names the runs because of which a limit or rate holds it."""
    pid: int | None = None
    """The pid of the worker that executes it."""
    worker: Literal["working", "stopping", "ended"] = "working"
    runs_on: str | None = None
    """The server that executes it, if that is another one."""
    unread: str | None = None
    """Where its workflow is defined that the daemon does not know, and what to type."""
    unserved: str | None = None
    """A clause for a group that no live server serves."""
    served_by: tuple[str, ...] = ()
    """The other servers that serve its group, if this one does not."""
    children: Mapping[str, Run] = field(default_factory=dict)
    """The child runs that it waits for, by id."""


def sentence(run: Run, around: WhyContext) -> str:
    """The sentence for a run."""
    match run.state:
        case "succeeded":
            return f"It succeeded at {iso(run.finished_at)}{_tries(run)}."
        case "cancelled":
            return f"It was cancelled at {iso(run.finished_at)}{_cancelled(run)}."
        case "dead":
            return f"It died at {iso(run.finished_at)}{_tries(run)}{_because(run)}{_for_good(run)}."
        case "waiting":
            return f"It waits for {_waits(run, around)}, and uses no slot meanwhile{_hindrance(run, around)}."
        case "running":
            return _running(run, around)
    return _later(run, around) if run.run_at > around.now else _pending(run, around)


def limit_holders(run: Run, count: int, seconds: float | None, most: int | None = None) -> str:
    """A clause about the runs because of which a limit holds a run or, with `seconds`, a rate over that time does."""
    if seconds is not None:
        span = _SPANS.get(seconds) or duration_text(seconds)
        whose = f" for {run.rate_key}" if run.rate_key else ""
        spaced = "its rate spaces starts evenly, and " if most is not None and count < most else ""
        return f"{spaced}{counted(count, 'run')} of {run.workflow}{whose} began in the last {span} (rate)"
    whose = f" for {run.limit_key}" if run.limit_key else ""
    if most is not None and count < most:
        return f"runs of {run.workflow}{whose} that were due before it come first (limit)"
    return f"{counted(count, 'other run')} of {run.workflow}{whose} {'is' if count == 1 else 'are'} running (limit)"


_SPANS: Final = {1.0: "second", 60.0: "minute", 3_600.0: "hour", 86_400.0: "day"}


def _running(run: Run, around: WhyContext) -> str:
    if around.runs_on is not None:
        asked = "; its cancellation was requested" if run.cancel_requested else ""
        return f"It is running on {around.runs_on}, attempt {run.attempts + 1} of {run.max_attempts}{asked}."
    if not around.has_daemon:
        after = "will cancel it, as requested" if run.cancel_requested else "will re-queue it without charging an attempt"
        return f"It was running when the daemon ended; the next daemon {after}."
    if around.pid is None and around.trouble:
        return f"Its worker has finished it, but the outcome cannot be stored: {around.trouble}."
    if around.pid is None:
        return f"It is on its way between the queue and a worker of group {run.group}."
    if around.worker == "ended":
        then = "the daemon handles the run once all processes of the worker are gone"
        return f"Its worker {around.pid} of {run.group} ended; {then}."
    alone = "alone " if run.hold == "suspect" else ""
    where = f"It is running {alone}in worker {around.pid} of {run.group}, attempt {run.attempts + 1} of {run.max_attempts}"
    if run.cancel_requested:
        return f"{where}; its cancellation was requested."
    if around.worker == "stopping":
        then = "the run ends there, or is re-queued at its next step without charging an attempt"
        return f"{where}; that worker is stopping: {then}."
    return f"{where}."


def _later(run: Run, around: WhyContext) -> str:
    """The sentence for a run that is due later: enqueued so, after a failed attempt, or by `step.retry`."""
    after = ""
    if run.error:
        after = f" after attempt {run.attempts} of {run.max_attempts} failed{_because(run)}"
    elif run.started_at is not None:
        after = ", as its handler requested with step.retry"
    left = duration_text(round((run.run_at - around.now) / 1000) or 1)
    return f"It is due at {iso(run.run_at)}, in {left}{after}{_hindrance(run, around)}."


def _pending(run: Run, around: WhyContext) -> str:
    group = run.group
    if run.hold == "no_handler":
        if around.unread is not None:
            return f"It is due, but the daemon does not know {run.workflow}: {around.unread}."
        if around.has_daemon:
            return f"It is due, but no workflow file defines {run.workflow}; it starts once one does (tako-lite reload)."
        return f"It is due, but when the daemon last ran no workflow file defined {run.workflow}; tako-lite serve checks again."
    if run.hold == "changed_steps":
        return _held(run)
    if not around.has_daemon:
        if around.is_paused:
            commands = f"tako-lite serve, then tako-lite resume {group}"
            return f"It is due, but no daemon is running and its group {group} is paused: {commands}."
        return f"It is due, but no daemon is running: start tako-lite serve and it runs in {group}."
    if around.unserved is not None:
        return f"It is due, but {around.unserved}: start tako-lite serve --groups {group} on a machine for it."
    if around.served_by and not around.is_paused:
        return f"It is due in {group}, which {' and '.join(around.served_by)} {_serve(around.served_by)}."
    if around.is_stopping:
        return "It is due, but the daemon is stopping and starts no more runs; it starts after the next tako-lite serve."
    if around.trouble:
        return f"It is due, but no run can start while the queue cannot be written: {around.trouble}."
    if around.is_paused:
        return f"It is due, but its group {group} is paused: tako-lite resume {group}."
    if around.group_error is not None and not around.taking:
        return f"It is due, but its group {group} cannot start: {_ending(around.group_error)}{_next_try(around)}."
    if around.limit_holders is not None or (run.hold or "").endswith(("limit", "rate")):
        alone = "; when it starts it runs alone, because it was running when a worker crashed" if run.hold in _ALONE else ""
        holders = around.limit_holders or f"the {(run.hold or '').removeprefix('suspect_')} of {run.workflow} is reached"
        return f"It is due, but {holders}{alone}."
    if run.hold == "suspect":
        return f"It is due and will run alone, because it was running when a worker of {group} crashed: {_alone(around)}."
    if around.taking:
        return f"It is due and waits for a free slot in {group}, {_place(around)}."
    if around.starting:
        return f"It is due, and a worker of {group} is starting for it."
    return f"It is due, and {group} has no worker yet: one is about to start."


def _held(run: Run) -> str:
    """The sentence for a run that does not fit the current code."""
    name = run.id[-8:]
    about = " ".join(map(about_step, run.not_reached[:MOST_STEPS]))
    again = (
        f"Give {'the step its name' if len(run.not_reached) == 1 else 'the steps their names'} again and type tako-lite reload"
    )
    choices = f"{again}, or continue with the code as it is: tako-lite run-now {name}; or end it: tako-lite cancel {name}."
    return " ".join(filter(None, ("It is held, because its code has changed:", about, choices)))


def _serve(names: tuple[str, ...]) -> str:
    return "serves" if len(names) == 1 else "serve"


def _next_try(around: WhyContext) -> str:
    if around.starting:
        return "; the group is being started again now"
    return (
        ""
        if around.next_try is None
        else f"; the group will be started again in {duration_text(max(1, round(around.next_try)))}"
    )


def _alone(around: WhyContext) -> str:
    if around.taking:
        return f"it waits for a worker for such runs, {_place(around)}"
    return "a worker for it is starting" if around.starting else "a worker for it is about to start"


def _place(around: WhyContext) -> str:
    if around.ahead > MOST_AHEAD:
        return f"behind more than {counted(MOST_AHEAD, 'other due run')}"
    return f"behind {counted(around.ahead, 'other due run')}" if around.ahead else "next in line"


def _hindrance(run: Run, around: WhyContext) -> str:
    """A clause about what would keep the run from starting if it were due now."""
    if not around.has_daemon:
        return "; no daemon is running, so it cannot start before tako-lite serve"
    if around.is_stopping:
        return "; the daemon is stopping, and the next one will start it"
    if around.trouble:
        return f"; the queue cannot be written now: {around.trouble}"
    if around.is_paused:
        return f"; its group {run.group} is paused"
    if around.group_error is not None and not around.taking:
        return f"; its group {run.group} cannot start: {_ending(around.group_error)}"
    return ""


def _tries(run: Run) -> str:
    """A clause with the numbers of attempts and crashes, if there is more than one attempt."""
    parts = [counted(run.attempts, "attempt")] if run.attempts > 1 or (run.attempts and run.crashes) else []
    parts += [counted(run.crashes, "crash", "crashes")] if run.crashes else []
    return f" after {' and '.join(parts)}" if parts else ""


def _cancelled(run: Run) -> str:
    match (run.error or {}).get("reason"):
        case "cancelled":
            return " on request"
        case "bailed":
            return f" by its own handler: {_message(run)}"
        case _:
            return _because(run)


def _because(run: Run) -> str:
    if not run.error:
        return ""
    message = _message(run)
    return f": {run.error.get('type')}: {message}" if message else f": {run.error.get('type')}"


def _message(run: Run) -> str:
    """The first line of the error, without the words that introduce the lines below it."""
    lines = str((run.error or {}).get("message") or "").strip().splitlines()
    return _ending(lines[0].removesuffix("; last lines:")[:LONGEST_MESSAGE]) if lines else ""


def _ending(text: str) -> str:
    """Text on one line, without the punctuation at its end, so that the sentence can end after it."""
    return " ".join(text.split()).rstrip(".:;")


def _for_good(run: Run) -> str:
    is_final = run.error and run.error.get("reason") in FINAL and run.attempts < run.max_attempts
    return "; runs that fail in this way are not tried again" if is_final else ""


def _waits(run: Run, around: WhyContext) -> str:
    return " or ".join(_wait(wait, around) for wait in run.waits) or "a step that is being stored"


def _wait(wait: RunWait, around: WhyContext) -> str:
    until = ""
    if wait.wake_at is not None:
        until = f" until {iso(wait.wake_at)}" if wait.wake_at > around.now else f", which ended at {iso(wait.wake_at)}"
    match wait.kind:
        case "signal":
            return f"the signal {wait.key!r}{until}"
        case "child":
            return _child(wait.key or "", around)
        case "retry":
            return f"the next try of step {wait.name!r}{until}"
        case _:
            return f"the sleep {wait.name!r}{until}"


def _child(id: str, around: WhyContext) -> str:
    child = around.children.get(id)
    short = id[-8:]
    if child is None:
        return f"its child run {short}"
    if child.state == "waiting":
        return f"its child run {short} of {child.workflow}, which is waiting too (tako-lite why {short})"
    return f"its child run {short} of {child.workflow}, which is {child.state}"
