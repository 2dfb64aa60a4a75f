"""What a bulk action is: the runs that it is about, and how far it has come. The daemon and an offline client share this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from tako_lite.answers import run_filter
from tako_lite.audit import Sender
from tako_lite.errors import BadInput
from tako_lite.protocol.arguments import Bulk, BulkAction
from tako_lite.records import Activity
from tako_lite.states import TERMINAL, RunState
from tako_lite.store.base import RunFilter

MOST_NAMED: Final = 10_000
"""How many runs the answer names with their outcome."""
STATES: Final[dict[BulkAction, tuple[RunState, ...]]] = {
    "cancel": ("pending", "running", "waiting"),
    "retry": ("cancelled", "dead"),
    "discard": ("dead",),
    "run_now": ("pending",),
    "move": ("pending", "running", "waiting"),
}
"""The runs that an action can change; a filter without states means these."""
CHANGED: Final = frozenset({"cancelled", "cancelling", "pending", "discarded", "due", "moved"})


def bulk_filter(request: Bulk, now: int) -> RunFilter:
    """The runs of a bulk action that begins now. Raises BadInput for a state that the action cannot change.

    Only runs that were there, and had ended if the action is about ended ones, when it began: a retried run that dies again
    is not retried twice.
    """
    possible = STATES[request.action]
    chosen = run_filter(request.filter)
    if wrong := [state for state in chosen.states if state not in possible]:
        raise BadInput(f"{request.action} does not change runs that are {wrong[0]}", hint=f"states: {', '.join(possible)}")
    chosen = replace(chosen, states=chosen.states or possible, until=min(chosen.until or now + 1, now + 1))
    if set(possible) <= TERMINAL:
        chosen = replace(chosen, ended_until=min(chosen.ended_until or now + 1, now + 1))
    return chosen


def destination(request: Bulk) -> str:
    """The group of a `move`. Raises BadInput if it is missing."""
    if request.to is None:
        raise BadInput("a group to move the runs to is missing", hint="give `to`")
    return request.to


class BulkProgress:
    """How far a bulk action has come."""

    def __init__(self, request: Bulk, matched: int, by: Sender, now: int) -> None:
        self.request = request
        self.is_done = False
        self.is_stopped = False
        self.error: str | None = None
        self.matched = matched
        self._by = by
        self._started_at = now
        self._outcomes: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._unstored: dict[str, list[str]] = {}

    def refuse_unexpected(self) -> None:
        """Raise BadInput if more runs match than a person has confirmed."""
        expected = self.request.expect
        if expected is not None and self.matched > expected:
            raise BadInput(f"{self.matched} runs match now, and {expected} were confirmed", hint="look again, then confirm")

    def add(self, answer: Mapping[str, Any]) -> None:
        """Take up the answer of the command for a slice."""
        outcomes: dict[str, str] = answer["outcomes"]
        self._unstored.update(answer.get("unstored") or {})
        self._counts.update(outcomes.values())
        room = max(MOST_NAMED - len(self._outcomes), 0)
        self._outcomes.update(list(outcomes.items())[:room])

    def as_json(self) -> dict[str, Any]:
        """The answer of `bulk`: numbers of runs by outcome, and up to 10,000 runs by name."""
        answer = {"id": self.request.bulk_id, "action": self.request.action, **self._progress(), "outcomes": self._outcomes}
        return {**answer, "unstored": self._unstored} if self.request.action == "retry" else answer

    def as_activity(self) -> Activity:
        """The entry in the activity, whose id is that of the action."""
        wanted = {name: value for name, value in asdict(self.request.filter).items() if value not in (None, [], {})}
        detail = {**self._progress(), "filter": wanted}
        action, target = f"bulk_{self.request.action}", self.request.to or ""
        return Activity(self.request.bulk_id, self._started_at, self._by.actor, self._by.source, action, target, detail)

    def _progress(self) -> dict[str, Any]:
        skipped = {outcome: count for outcome, count in sorted(self._counts.items()) if outcome not in CHANGED}
        return {
            "done": self.is_done,
            "stopped": self.is_stopped,
            "matched": self.matched,
            "changed": self._counts.total() - sum(skipped.values()),
            "skipped": skipped,
            "counts": dict(sorted(self._counts.items())),
            "error": self.error,
        }
