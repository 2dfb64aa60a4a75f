"""The WHERE clause of a filter of runs: one for the command line, the clients and the dashboard."""

from __future__ import annotations

from typing import Any, Final

from tako_lite.store.base import RunFilter

_ERROR: Final = (
    "CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END"
)
_PAYLOAD: Final = (
    "CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END"
)
_CONDITIONS: Final = {
    "workflow": "workflow = :workflow",
    "group": "worker_group = :group",
    "since": "created_at >= :since",
    "until": "created_at < :until",
    "ended_since": "finished_at >= :ended_since",
    "ended_until": "finished_at < :ended_until",
    "due_before": "state = 'pending' AND run_at < :due_before",
    "due_after": "state = 'pending' AND run_at > :due_after",
    "min_duration": "finished_at - started_at >= :min_duration",
    "tenant": "tenant = :tenant",
    "unique_key": "unique_key = :unique_key",
    "parent": "parent = :parent",
    "again_of": "again_of = :again_of",
    "reason": f"json_extract({_ERROR}, '$.reason') = :reason",
    "fingerprint": "fingerprint = :fingerprint",
    "text": f"(instr({_PAYLOAD}, :text) OR instr(ifnull({_ERROR}, ''), :text) OR instr(ifnull(unique_key, ''), :text))",
    "discarded": "(discarded_at IS NOT NULL) = :discarded",
    "before": "id < :before",
    "after": "id > :after",
}
_NO_EVALUATION: Final = "id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)"


def conditions(chosen: RunFilter) -> tuple[str, dict[str, Any]]:
    """The WHERE clause of a filter, and its parameters by name. Evaluations of triggers are no runs to people."""
    parts, names = [_NO_EVALUATION], {}
    for name, condition in _CONDITIONS.items():
        if (value := getattr(chosen, name)) is not None:
            parts.append(condition)
            names[name] = value
    if chosen.states:
        states = {f"state_{number}": state for number, state in enumerate(chosen.states)}
        parts.append(f"state IN ({', '.join(f':{name}' for name in states)})")
        names |= states
    return f"WHERE {' AND '.join(parts)}", names
