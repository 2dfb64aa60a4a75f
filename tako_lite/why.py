"""`why RUN`: one true sentence about where a run stands."""

from __future__ import annotations

from typing import Final

from tako_lite.clock import iso
from tako_lite.records import Run
from tako_lite.units import counted, duration_text


def sentence(
    run: Run,
    now: int,
    group_state: str | None,
    group_error: str | None,
    ahead: int | None,
    pid: int | None = None,
    crowd: str | None = None,
) -> str:
    """Why a run is where it is. `group_state` is None without a daemon; `ahead` counts the due runs before it.

    `crowd` are the runs for which a limit or a rate holds it.
    """
    match run.state:
        case "succeeded":
            return f"It succeeded at {iso(run.finished_at)}{_tries(run)}."
        case "cancelled":
            return f"It was cancelled at {iso(run.finished_at)}{_because(run)}."
        case "dead":
            return f"It died at {iso(run.finished_at)}{_tries(run)}{_because(run)}."
        case "waiting":
            return f"It waits for {_waits(run)}, and holds no slot meanwhile."
        case "running" if group_state is None:
            after = "cancels it, as it was asked to" if run.cancel_requested else "gives it back to the queue, uncharged"
            return f"It was running when the daemon ended; the next one {after}."
        case "running":
            where = f"in worker {pid} of {run.group}" if pid else f"in {run.group}"
            asked = "; it was asked to cancel" if run.cancel_requested else ""
            return f"It is running {where}, attempt {run.attempts + 1} of {run.max_attempts}{asked}."
    return _pending(run, now, group_state, group_error, ahead, crowd)


def crowd_of(run: Run, count: int, seconds: float | None) -> str:
    """The runs for which a limit holds a run; with a time, those for which the rate of so many seconds does."""
    if seconds is not None:
        span = _SPANS.get(seconds) or duration_text(seconds)
        return f"{counted(count, 'run')} of {run.workflow} began in the last {span} (rate)"
    whose = f" for {run.limit_key}" if run.limit_key else ""
    return f"{counted(count, 'other run')} of {run.workflow}{whose} {'is' if count == 1 else 'are'} running (limit)"


_SPANS: Final = {1.0: "second", 60.0: "minute", 3_600.0: "hour", 86_400.0: "day"}


def _pending(run: Run, now: int, group_state: str | None, group_error: str | None, ahead: int | None, crowd: str | None) -> str:
    if run.hold == "no_handler":
        return f"It is due, but no workflow file defines {run.workflow}; it starts when one does (tako-lite reload)."
    if run.run_at > now:
        after = _because(run)
        retry = f" after attempt {run.attempts} of {run.max_attempts} failed{after}" if run.attempts else ""
        return f"It is due at {iso(run.run_at)}, in {duration_text(round((run.run_at - now) / 1000) or 1)}{retry}."
    if group_state is None:
        return f"It is due, but no daemon is running: start tako-lite serve and it runs in {run.group}."
    if group_state == "paused":
        return f"It is due, but its group {run.group} is paused: tako-lite resume {run.group}."
    if group_state in ("backoff", "unhealthy"):
        return f"It is due, but its group {run.group} cannot start: {group_error}."
    if crowd is not None:
        return f"It is due, but {crowd}."
    if run.hold == "suspect":
        return f"It is due and will run alone in a worker of {run.group}, since it was running when a worker crashed."
    if group_state == "zero":
        return f"It is due, and {run.group} has no worker yet."
    if group_state == "starting":
        return f"It is due, and a worker of {run.group} is starting for it."
    behind = "next in line" if not ahead else f"behind {ahead} other due runs"
    return f"It is due and waits for a free slot in {run.group}, {behind}."


def _tries(run: Run) -> str:
    tries = run.attempts + run.crashes
    return f" after {tries} attempts" if tries > 1 else ""


def _because(run: Run) -> str:
    if not run.error:
        return ""
    message = str(run.error.get("message") or "").strip().splitlines()
    return f": {run.error.get('type')}: {message[0][:300]}" if message else f": {run.error.get('type')}"


def _waits(run: Run) -> str:
    words = []
    for wait in run.waits:
        until = f" until {iso(wait.wake_at)}" if wait.wake_at is not None else ""
        match wait.kind:
            case "signal":
                words.append(f"the signal {wait.key!r}{until}")
            case "child":
                words.append(f"its child run {(wait.key or '')[-8:]}")
            case "retry":
                words.append(f"the next try of step {wait.name!r}{until}")
            case _:
                words.append(f"the sleep {wait.name!r}{until}")
    return " or ".join(words) or "a step that is being stored"
