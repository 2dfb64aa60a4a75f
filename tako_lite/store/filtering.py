"""The WHERE clause of a filter of runs: one for the command line, the clients and the dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from itertools import chain
from typing import Any, Final

from tako_lite.states import RunState
from tako_lite.store.base import RunFilter
from tako_lite.store.transitions.transaction import Snapshot

_NAMES: Final = tuple(field.name for field in fields(RunFilter) if field.name not in ("states", "has", "without"))


def select_in_states(snapshot: Snapshot, states: Iterable[RunState]) -> str:
    """Selects the ids of the runs in some states from the indexes of these, and from no others."""
    sql = snapshot.sql
    parts = chain.from_iterable(getattr(sql.filters, f"in_{state}").split(" OR ") for state in states)
    return " UNION ALL ".join(f"{sql.runs.select_ids} WHERE {part}" for part in parts)


def conditions(snapshot: Snapshot, chosen: RunFilter) -> tuple[str, dict[str, Any]]:
    """The WHERE clause of a filter, and its parameters by name."""
    sql = snapshot.sql.filters
    names = {name: value for name in _NAMES if (value := getattr(chosen, name)) is not None}
    parts = [getattr(sql, name) for name in names]
    if chosen.states:
        states = {f"state_{number}": state for number, state in enumerate(chosen.states)}
        parts.append(f"state IN ({', '.join(f':{name}' for name in states)})")
        names |= states
    parts += [getattr(sql, f"has_{word}") for word in chosen.has]
    for number, (name, value) in enumerate(chosen.without):
        condition, values = _opposite(sql, name, value, f"without_{number}")
        parts.append(condition)
        names |= values
    parts.append(sql.shown)  # last: it is true of almost all runs
    return "WHERE " + "\nAND ".join(f"({part})" for part in parts), names


def _opposite(sql: Any, name: str, value: str | int, parameter: str) -> tuple[str, dict[str, Any]]:
    """The opposite of a condition, which also holds where a run has no such value, and its parameter by a name of its own."""
    if name == "has":
        return f"({getattr(sql, f'has_{value}')}) IS NOT TRUE", {}
    text = re.sub(rf"(?<!:):{name}\b", f":{parameter}", getattr(sql, name))
    return f"({text}) IS NOT TRUE", {parameter: value}
