"""Suggestions for mistyped names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LONGEST: Final = 128
"""Maximum number of compared characters: no name is longer, and the time grows with the length."""
SHORTEST_SLIP: Final = 3
LONG_WORD: Final = 6
"""Length from which a word may have two wrong letters."""
_NO_DIGITS: Final = str.maketrans("", "", "0123456789")


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
"""Names that other programs use for our options and run states, with ours."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with our name for another program's word, or with the nearest known name; None if there is neither."""
    from difflib import get_close_matches  # only needed once something is wrong

    known = list(known)
    if (ours := OUR_WORDS.get(word.lower().replace("-", "_"))) in known:
        return f"tako-lite calls it `{ours}`"
    close = get_close_matches(word[:LONGEST], known, n=1)
    return f"did you mean `{close[0]}`?" if close else None


def slip_of(word: str, known: Iterable[str]) -> str | None:
    """The known name of which a word is a misspelling: one letter is wrong, missing, extra or swapped, or two in a long word.

    Names that differ in their digits alone, such as `eu1` and `eu2`, differ on purpose.
    """
    letters = word.translate(_NO_DIGITS)
    for name in known:
        allowed = 0 if min(len(word), len(name)) < SHORTEST_SLIP else 1 if len(word) < LONG_WORD else 2
        is_meant = word == name or letters == name.translate(_NO_DIGITS)
        if not is_meant and abs(len(word) - len(name)) <= allowed and _edits(word.lower(), name.lower()) <= allowed:
            return name
    return None


def _edits(word: str, other: str) -> int:
    """The number of letters to change, insert, delete or swap with their neighbour (optimal string alignment distance)."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            least = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == wanted:
                least = min(least, rows[-2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]
