"""Assertions about the runs that were enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tako_lite.clock import milliseconds
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.testing.matching import ANY, differences
from tako_lite.units import duration

TOLERANCE_MS: Final = 1000
"""How much a delay or a time may differ from the expected one."""
NEAREST: Final = 5
"""How many of the other runs a failure lists."""
_FIELDS: Final = {"worker": "group", "group": "group", "unique_key": "unique_key", "tenant": "tenant", "parent": "parent"}
_OPTIONS: Final = (*_FIELDS, "priority", "retries", "delay", "at", "state")


def mismatches(shown: Mapping[str, Any], payload: Any, options: Mapping[str, Any]) -> list[str]:
    """Why a run is not the expected one; empty if it is. Raises BadInput for an unknown option."""
    found = list(differences(payload, shown["payload"], "payload"))
    for option, expected in options.items():
        if option not in _OPTIONS:
            hint = did_you_mean(option, _OPTIONS) or f"options: {', '.join(_OPTIONS)}"
            raise BadInput(f"{option!r} is no option of an enqueued run", hint=hint)
        if option in ("delay", "at") and not (expected is ANY or expected is ...):
            found += _of_time(option, expected, shown)
        else:
            found += differences(expected, _value(option, shown), option)
    return found


def _value(option: str, shown: Mapping[str, Any]) -> Any:
    if option == "retries":
        return shown["max_attempts"] - 1
    return shown[_FIELDS.get(option, option)]


def _of_time(option: str, expected: float | timedelta | str | datetime, shown: Mapping[str, Any]) -> list[str]:
    due = milliseconds(shown["run_at"])
    if option == "delay" and not isinstance(expected, datetime):
        wanted = milliseconds(shown["created_at"]) + round(duration(expected) * 1000)
    else:
        wanted = milliseconds(expected)  # type: ignore[arg-type]
    if abs(due - wanted) <= TOLERANCE_MS:
        return []
    later = timedelta(milliseconds=due - milliseconds(shown["created_at"]))
    return [f"it is due at {shown['run_at']}, {later} after it was enqueued; expected {option}={expected!r}"]


def report(workflow: str, payload: Any, options: Mapping[str, Any], runs: list[dict[str, Any]], wanted: str) -> str:
    """The message of a failed assertion: what was expected, and the nearest runs with how they differ."""
    asked = ", ".join([repr(payload), *(f"{name}={value!r}" for name, value in options.items())])
    lines = [f"expected {wanted} of {workflow} with {asked}"]
    of_it = [shown for shown in runs if shown["workflow"] == workflow]
    if not of_it:
        others = sorted({shown["workflow"] for shown in runs})
        lines.append(f"no run of {workflow} was enqueued" + (f"; enqueued were runs of {', '.join(others)}" if others else ""))
    ranked = sorted(of_it, key=lambda shown: len(mismatches(shown, payload, options)))
    for shown in ranked[:NEAREST]:
        wrong = mismatches(shown, payload, options)
        lines.append(f"  run {shown['id'][-8:]} {shown['state']}, payload {shown['payload']!r}")
        lines += [f"    {each}" for each in wrong or ["matches"]]
    if len(ranked) > NEAREST:
        lines.append(f"  and {len(ranked) - NEAREST:,} more")
    return "\n".join(lines)
