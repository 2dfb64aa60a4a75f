"""What the daemon and an offline client share when they answer a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.new_run import check_priority, check_retries
from tako_lite.protocol.arguments import Edit, Filter
from tako_lite.store.base import MinuteTotals, RunChanges, RunFilter

_SHARED: Final = tuple(field.name for field in fields(RunFilter) if field.name not in ("states", "has", "without"))


def run_filter(chosen: Filter) -> RunFilter:
    """The filter of the store for the arguments of `runs` and `ids`. Raises BadInput."""
    chosen.check_times()
    shared = {name: getattr(chosen, name) for name in _SHARED}
    return RunFilter(**shared, states=chosen.run_states(), has=chosen.has_words(), without=chosen.opposites())


def run_changes(request: Edit) -> RunChanges:
    """What an `edit` changes. Raises BadInput if that is nothing, and for values out of range."""
    if request.at is None and request.priority is None and request.retries is None and request.worker is None:
        raise BadInput("nothing to change was given", hint="give at, priority, retries or worker")
    Filter(since=request.at).check_times()
    priority = None if request.priority is None else check_priority(request.priority)
    return RunChanges(request.at, priority, None if request.retries is None else check_retries(request.retries) + 1)


def check_scale(workers: int | None) -> None:
    """Raise BadInput for a number of workers that is out of range."""
    if workers is not None and not 0 <= workers <= 1000:
        raise BadInput(f"{workers} workers are out of range", hint="0 to 1000")


def minutes_json(found: Sequence[MinuteTotals]) -> list[dict[str, Any]]:
    """The totals of minutes as JSON objects; `minute` is counted since 1970."""
    return [{**total._asdict(), "waited": list(total.waited), "executed": list(total.executed)} for total in found]
