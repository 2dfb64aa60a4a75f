"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LONGEST: Final = 128
"""Characters of a word that are compared: no name has more, and the time grows with them."""


OUR_WORDS: Final = {
    **dict.fromkeys(("queue", "group", "pool"), "worker"),
    **dict.fromkeys(("countdown", "after", "wait_for"), "delay"),
    **dict.fromkeys(("eta", "when", "run_at"), "at"),
    **dict.fromkeys(("max_retries", "tries", "attempts", "max_attempts"), "retries"),
    **dict.fromkeys(("cron", "crontab"), "schedule"),
    **dict.fromkeys(("rate_limit", "throttle"), "rate"),
    **dict.fromkeys(("time_limit", "soft_time_limit", "max_runtime"), "timeout"),
    **dict.fromkeys(("failed", "failure", "error", "errored", "broken"), "dead"),
    **dict.fromkeys(("done", "success", "successful", "completed", "complete", "finished", "ok"), "succeeded"),
    **dict.fromkeys(("queued", "enqueued", "scheduled", "delayed", "retrying", "due", "new", "ready"), "pending"),
    **dict.fromkeys(("active", "started", "busy", "executing"), "running"),
    **dict.fromkeys(("sleeping", "parked", "blocked"), "waiting"),
    **dict.fromkeys(("canceled", "revoked", "aborted", "killed"), "cancelled"),
    **dict.fromkeys(("status",), "state"),
    **dict.fromkeys(("task", "job"), "workflow"),
}
"""What other programs call our options and the states of runs."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known name that other programs call so, or that is nearest to a mistyped one, if any is."""
    from difflib import get_close_matches  # only needed once something is wrong

    known = list(known)
    if (ours := OUR_WORDS.get(word.lower().replace("-", "_"))) in known:
        return f"tako-lite calls it `{ours}`"
    close = get_close_matches(word[:LONGEST], known, n=1)
    return f"did you mean `{close[0]}`?" if close else None
