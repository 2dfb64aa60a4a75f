"""The WHERE clause of a filter of runs: one for the command line, the clients and the dashboard."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from tako_lite.store.base import RunFilter
from tako_lite.store.transitions.transaction import Snapshot

_NAMES: Final = tuple(field.name for field in fields(RunFilter) if field.name != "states")


def conditions(snapshot: Snapshot, chosen: RunFilter) -> tuple[str, dict[str, Any]]:
    """The WHERE clause of a filter, and its parameters by name."""
    sql = snapshot.sql.filters
    names = {name: value for name in _NAMES if (value := getattr(chosen, name)) is not None}
    parts = [getattr(sql, name) for name in ("shown", *names)]
    if chosen.states:
        states = {f"state_{number}": state for number, state in enumerate(chosen.states)}
        parts.append(f"state IN ({', '.join(f':{name}' for name in states)})")
        names |= states
    return "WHERE " + "\nAND ".join(parts), names
