"""The sentence of `why` for every place in which a run can be."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from tako_lite.records import Run, RunWait
from tako_lite.states import RunState
from tako_lite.store.base import Hold
from tako_lite.why import WhyContext, limit_holders, sentence

NOW = 1_800_000_000_000
AT = "2027-01-15T08:00:00.000Z"
LATER, AT_LATER = NOW + 90_000, "2027-01-15T08:01:30.000Z"
ID = "019a0000-0000-7000-8000-0000abcd1234"
FULL = "the disk that holds /srv/queue.db is full"
BOOM = {"type": "ValueError", "message": "boom.\nand more", "traceback": None, "reason": None}
CRASH = {"type": "WorkerCrashed", "message": "its worker was killed; last lines:\nx", "reason": "crashed"}


def run(state: RunState, **facts: Any) -> Run:
    """A run of `resize` in `media` with three attempts, and what else is said of it."""
    fields: dict[str, Any] = dict.fromkeys(Run._fields)
    fields |= {"id": ID, "workflow": "resize", "group": "media", "attempts": 0, "max_attempts": 3, "crashes": 0, "priority": 0}
    fields |= {"created_at": NOW, "run_at": NOW, "finished_at": NOW, "cancel_requested": False, "waits": (), "not_reached": ()}
    return Run(**{**fields, "state": state, **facts})


def told(made: Run, has_daemon: bool = True, **around: Any) -> str:
    """What `why` says of it, beside a daemon unless that is denied."""
    return sentence(made, WhyContext(now=NOW, has_daemon=has_daemon, **around))


def failed(reason: str, message: str = "boom") -> dict[str, Any]:
    return {"type": "Failed", "message": message, "traceback": None, "reason": reason}


@pytest.mark.parametrize("has_daemon", [True, False])
@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (run("succeeded", attempts=1), f"It succeeded at {AT}."),
        (run("succeeded", attempts=3), f"It succeeded at {AT} after 3 attempts."),
        (run("succeeded", attempts=1, crashes=1), f"It succeeded at {AT} after 1 attempt and 1 crash."),
        (run("succeeded", attempts=2, crashes=2), f"It succeeded at {AT} after 2 attempts and 2 crashes."),
        (run("cancelled", error=failed("cancelled")), f"It was cancelled at {AT} on request."),
        (run("cancelled", error=failed("bailed", "gone")), f"It was cancelled at {AT} by its own handler: gone."),
        (run("cancelled", error=failed("limit")), f"It was cancelled at {AT}: Failed: boom."),
        (run("dead", attempts=3, error=BOOM), f"It died at {AT} after 3 attempts: ValueError: boom."),
        (run("dead", crashes=3, error=CRASH), f"It died at {AT} after 3 crashes: WorkerCrashed: its worker was killed."),
        (run("dead", attempts=1, error=failed("timeout")), f"It died at {AT}: Failed: boom."),
        (run("dead", error={"type": "Odd", "message": ""}), f"It died at {AT}: Odd."),
    ],
)  # fmt: skip
def test_a_run_that_ended_says_when_how_and_after_what_with_or_without_a_daemon(
    made: Run, expected: str, has_daemon: bool
) -> None:
    assert told(made, has_daemon) == expected


@pytest.mark.parametrize("reason", ["bad_payload", "bad_input", "not_json", "too_large", "step_error", "failed"])
def test_a_run_that_died_with_attempts_left_says_that_it_is_for_good(reason: str) -> None:
    made = run("dead", attempts=1, error=failed(reason))
    assert told(made) == f"It died at {AT}: Failed: boom; runs that fail in this way are not tried again."
    assert "tried again" not in told(made._replace(attempts=3))


@pytest.mark.parametrize(
    ("made", "around", "expected"),
    [
        (run("running"), {"pid": 7}, "It is running in worker 7 of media, attempt 1 of 3."),
        (run("running", attempts=1, hold="suspect"), {"pid": 7}, "It is running alone in worker 7 of media, attempt 2 of 3."),
        (run("running", cancel_requested=True), {"pid": 7, "worker": "stopping"},
         "It is running in worker 7 of media, attempt 1 of 3; its cancellation was requested."),
        (run("running"), {"pid": 7, "worker": "stopping"},
         "It is running in worker 7 of media, attempt 1 of 3; that worker is stopping: the run ends there, or is re-queued "
         "at its next step without charging an attempt."),
        (run("running"), {"pid": 7, "worker": "ended"},
         "Its worker 7 of media ended; the daemon handles the run once all processes of the worker are gone."),
        (run("running"), {}, "It is on its way between the queue and a worker of group media."),
        (run("running"), {"trouble": FULL}, f"Its worker has finished it, but the outcome cannot be stored: {FULL}."),
        (run("running"), {"trouble": FULL, "pid": 7}, "It is running in worker 7 of media, attempt 1 of 3."),
        (run("running"), {"has_daemon": False},
         "It was running when the daemon ended; the next daemon will re-queue it without charging an attempt."),
        (run("running", cancel_requested=True), {"has_daemon": False},
         "It was running when the daemon ended; the next daemon will cancel it, as requested."),
    ],
)  # fmt: skip
def test_a_running_run_says_where_or_what_became_of_its_worker(made: Run, around: dict[str, Any], expected: str) -> None:
    assert told(made, **around) == expected


IMPORT = "no module named shapes (workflows/resize.py:3)"
SUSPECT = " and will run alone, because it was running when a worker of media crashed"


@pytest.mark.parametrize(
    ("facts", "around", "expected"),
    [
        ({}, {}, ", and media has no worker yet: one is about to start"),
        ({}, {"starting": 1}, ", and a worker of media is starting for it"),
        ({}, {"taking": 2}, " and waits for a free slot in media, next in line"),
        ({}, {"taking": 2, "ahead": 1, "starting": 1}, " and waits for a free slot in media, behind 1 other due run"),
        ({}, {"taking": 1, "ahead": 1234}, " and waits for a free slot in media, behind 1,234 other due runs"),
        ({}, {"taking": 1, "ahead": 10_001}, " and waits for a free slot in media, behind more than 10,000 other due runs"),
        ({}, {"taking": 1, "group_error": IMPORT}, " and waits for a free slot in media, next in line"),
        ({}, {"is_paused": True, "taking": 1}, ", but its group media is paused: tako-lite resume media"),
        ({}, {"group_error": IMPORT, "next_try": 11.7},
         f", but its group media cannot start: {IMPORT}; the group will be started again in 12s"),
        ({}, {"group_error": IMPORT, "starting": 1},
         f", but its group media cannot start: {IMPORT}; the group is being started again now"),
        ({}, {"group_error": IMPORT}, f", but its group media cannot start: {IMPORT}"),
        ({}, {"trouble": FULL, "taking": 1}, f", but no run can start while the queue cannot be written: {FULL}"),
        ({}, {"is_stopping": True, "taking": 1},
         ", but the daemon is stopping and starts no more runs; it starts after the next tako-lite serve"),
        ({}, {"has_daemon": False}, ", but no daemon is running: start tako-lite serve and it runs in media"),
        ({}, {"has_daemon": False, "is_paused": True},
         ", but no daemon is running and its group media is paused: tako-lite serve, then tako-lite resume media"),
        ({"hold": "no_handler"}, {"taking": 1},
         ", but no workflow file defines resize; it starts once one does (tako-lite reload)"),
        ({"hold": "no_handler"}, {"has_daemon": False},
         ", but when the daemon last ran no workflow file defined resize; tako-lite serve checks again"),
        ({"hold": "no_handler"}, {"unread": "workflows/c.py:3 defines it, but …"},
         ", but the daemon does not know resize: workflows/c.py:3 defines it, but …"),
        ({"hold": "suspect"}, {}, f"{SUSPECT}: a worker for it is about to start"),
        ({"hold": "suspect"}, {"starting": 1}, f"{SUSPECT}: a worker for it is starting"),
        ({"hold": "suspect"}, {"taking": 1}, f"{SUSPECT}: it waits for a worker for such runs, next in line"),
        ({"hold": "suspect"}, {"taking": 1, "ahead": 2},
         f"{SUSPECT}: it waits for a worker for such runs, behind 2 other due runs"),
        ({"hold": "limit"}, {"taking": 1, "limit_holders": "2 other runs of resize are running (limit)"},
         ", but 2 other runs of resize are running (limit)"),
        ({"hold": "suspect_rate"}, {"taking": 1, "limit_holders": "5 runs of resize began in the last minute (rate)"},
         ", but 5 runs of resize began in the last minute (rate); when it starts it runs alone,"
         " because it was running when a worker crashed"),
        ({"hold": "limit"}, {"is_paused": True}, ", but its group media is paused: tako-lite resume media"),
        ({"hold": "suspect"}, {"is_paused": True}, ", but its group media is paused: tako-lite resume media"),
        ({"hold": "suspect"}, {"has_daemon": False}, ", but no daemon is running: start tako-lite serve and it runs in media"),
    ],
)  # fmt: skip
def test_a_due_run_says_what_keeps_it_from_starting(facts: dict[str, Any], around: dict[str, Any], expected: str) -> None:
    assert told(run("pending", **facts), **around) == f"It is due{expected}."


@pytest.mark.parametrize(
    ("key", "count", "seconds", "words"),
    [
        ("", 1, None, "1 other run of resize is running (limit)"),
        ('"acme"', 2, None, '2 other runs of resize for "acme" are running (limit)'),
        ("", 1, 1.0, "1 run of resize began in the last second (rate)"),
        ("", 100, 60.0, "100 runs of resize began in the last minute (rate)"),
        ("", 5, 30.0, "5 runs of resize began in the last 30s (rate)"),
    ],
)
def test_the_runs_that_a_held_one_waits_for_are_counted(key: str, count: int, seconds: float | None, words: str) -> None:
    assert limit_holders(run("pending", limit_key=key), count, seconds) == words


def test_a_run_that_a_rate_spaces_is_not_explained_by_a_count_below_the_rate() -> None:
    words = "1 run of resize began in the last 2s (rate)"
    assert limit_holders(run("pending"), 1, 2.0, most=2) == f"its rate spaces starts evenly, and {words}"
    assert limit_holders(run("pending"), 1, 2.0, most=1) == words


@pytest.mark.parametrize("has_daemon", [True, False])
def test_a_run_that_does_not_fit_the_code_says_which_step_and_what_to_type(has_daemon: bool) -> None:
    short = ID[-8:]
    assert told(run("pending", hold="changed_steps", not_reached=("charge",)), has_daemon) == (
        "It is held, because its code has changed: stored step `charge` was not reached again; was it renamed? Give the"
        " step its name again and type tako-lite reload, or continue with the code as it is: "
        f"tako-lite run-now {short}; or end it: tako-lite cancel {short}."
    )


def test_every_reason_to_hold_a_run_has_a_sentence_of_its_own() -> None:
    sentences = {told(run("pending", hold=hold), taking=1) for hold in (None, *get_args(Hold))}
    assert len(sentences) == 1 + len(get_args(Hold))


@pytest.mark.parametrize(
    ("facts", "around", "expected"),
    [
        ({}, {}, ""),
        ({"error": BOOM, "attempts": 1, "started_at": NOW}, {}, " after attempt 1 of 3 failed: ValueError: boom"),
        ({"attempts": 1, "started_at": NOW}, {}, ", as its handler requested with step.retry"),
        ({"started_at": NOW}, {}, ", as its handler requested with step.retry"),
        ({}, {"is_paused": True}, "; its group media is paused"),
        ({}, {"group_error": "boom."}, "; its group media cannot start: boom"),
        ({}, {"group_error": "boom.", "taking": 1}, ""),
        ({}, {"trouble": FULL}, f"; the queue cannot be written now: {FULL}"),
        ({}, {"is_stopping": True}, "; the daemon is stopping, and the next one will start it"),
        ({}, {"has_daemon": False}, "; no daemon is running, so it cannot start before tako-lite serve"),
    ],
)  # fmt: skip
def test_a_run_that_is_due_later_says_when_and_why_so_late(
    facts: dict[str, Any], around: dict[str, Any], expected: str
) -> None:
    assert told(run("pending", run_at=LATER, **facts), **around) == f"It is due at {AT_LATER}, in 1m30s{expected}."


def test_a_run_that_is_due_within_the_second_is_not_due_in_nothing() -> None:
    assert told(run("pending", run_at=NOW + 1)).endswith(", in 1s.")


CHILD = "019a0000-0000-7000-8000-00000000beef"


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([RunWait("nap", "sleep", None, LATER, NOW)], f"the sleep 'nap' until {AT_LATER}"),
        ([RunWait("nap", "sleep", None, NOW, NOW)], f"the sleep 'nap', which ended at {AT}"),
        ([RunWait("go", "signal", "go:7", None, NOW)], "the signal 'go:7'"),
        ([RunWait("go", "signal", "go:7", LATER, NOW)], f"the signal 'go:7' until {AT_LATER}"),
        ([RunWait("fetch", "retry", None, LATER, NOW)], f"the next try of step 'fetch' until {AT_LATER}"),
        ([RunWait("nap", "sleep", None, LATER, NOW), RunWait("go", "signal", "go", None, NOW)],
         f"the sleep 'nap' until {AT_LATER} or the signal 'go'"),
        ([RunWait("sub", "child", CHILD, None, NOW)], "its child run 0000beef"),
        ([], "a step that is being stored"),
    ],
)  # fmt: skip
def test_a_waiting_run_says_for_what(waits: list[RunWait], expected: str) -> None:
    assert told(run("waiting", waits=tuple(waits))) == f"It waits for {expected}, and uses no slot meanwhile."


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("pending", "of thumb, which is pending"),
        ("running", "of thumb, which is running"),
        ("waiting", "of thumb, which is waiting too (tako-lite why 0000beef)"),
    ],
)
def test_a_run_that_waits_for_a_child_says_where_that_stands(state: RunState, expected: str) -> None:
    child = run(state, id=CHILD, workflow="thumb")
    made = run("waiting", waits=(RunWait("sub", "child", CHILD, None, NOW),))
    assert told(made, children={CHILD: child}).startswith(f"It waits for its child run 0000beef {expected}, and uses")


def test_without_a_daemon_a_waiting_run_says_that_nothing_wakes_it() -> None:
    made = run("waiting", waits=(RunWait("go", "signal", "go", None, NOW),))
    assert told(made, has_daemon=False).endswith("meanwhile; no daemon is running, so it cannot start before tako-lite serve.")


@pytest.mark.parametrize("state", get_args(RunState))
@pytest.mark.parametrize("has_daemon", [True, False])
def test_in_every_state_it_is_one_line_that_ends_like_a_sentence(state: RunState, has_daemon: bool) -> None:
    words = told(run(state, error=BOOM), has_daemon, group_error="first\n  second line:\n", trouble=None)
    assert words.startswith("It ") and words.endswith(".") and "\n" not in words and ".." not in words
