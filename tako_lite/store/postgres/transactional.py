"""Statements for a connection of the user, so that new runs and signals commit with the user's own rows, or not at all.

No driver is imported, and a statement needs no state of its session: it names the schema, works behind any pooler, and has each
parameter once, as text, so that every way of writing parameters can express it. The database's clock counts delays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple, get_args

from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.records import Batch, NewRun
from tako_lite.states import RunState
from tako_lite.store.sql import Statement, load, replace_parameters
from tako_lite.store.transitions.history import fingerprint_of

Style = Literal["format", "pyformat", "numeric", "named", "qmark"]
"""How parameters are written: `%s`, `%(name)s`, `$1`, `:name` or `?`."""
Parameters = tuple[str, ...] | dict[str, str]
"""The values by position, or by name for `pyformat` and `named`."""

_NAMED: Final[Mapping[str, str]] = {"pyformat": r"%(\1)s", "named": r":\1"}
_POSITIONAL: Final[Mapping[str, str]] = {"format": "%s", "qmark": "?"}


class StoredRun(NamedTuple):
    """A row that the statement `enqueue` returns."""

    id: str
    state: RunState
    group: str
    deduplicated: bool


def check_style(style: str) -> Style:
    """Return the style. Raises BadInput for one that is unknown."""
    for known in get_args(Style):
        if style == known:
            return known  # type: ignore[no-any-return]
    hint = did_you_mean(style, get_args(Style)) or "format (%s), pyformat (%(name)s), numeric ($1), named (:name), qmark (?)"
    raise BadInput(f"{style!r} is no style of parameters", hint=f"{hint}")


def enqueue(
    schema: str, style: Style, rows: Sequence[Mapping[str, Any]], notified: Mapping[str, bool]
) -> tuple[str, Parameters]:
    """The statement that stores runs, and notifies the servers of these groups where it stores a run of them.

    The value of a group is whether others may soon be stored without a notification, so that servers look again.
    """
    values = {"runs": json.dumps(rows, ensure_ascii=False), "notified": json.dumps(notified, sort_keys=True)}
    return _bind("enqueue", schema, style, values)


def signal(schema: str, style: Style, event: str, payload: str, *, notified: bool | None) -> tuple[str, Parameters]:
    """The statement that stores a signal, and notifies the servers unless `notified` is None; it is as a value of `enqueue`."""
    how = "no" if notified is None else "again" if notified else "yes"
    return _bind("signal", schema, style, {"event": event, "payload": payload, "notified": how})


def rows_of(batch: Batch, delay: float | None, at: int | None, first: int = 0) -> list[dict[str, Any]]:
    """The rows of a batch as `enqueue` takes them; `delay` is in seconds, and `first` the place of the first of them."""
    like, runs = batch
    shared = _shared(like)
    if at is None:
        shared["delay_ms"] = round((delay or 0.0) * 1000)
    else:
        shared["run_at"] = at
    return [{**shared, "place": place, "id": id, "payload": payload} for place, (id, payload) in enumerate(runs, first)]


def _shared(run: NewRun) -> dict[str, Any]:
    """The columns that are the same for all runs of a batch, except those that are null."""
    columns = {
        "workflow": run.workflow,
        "worker_group": run.group,
        "group_source": run.group_source,
        "priority": run.priority,
        "max_attempts": run.max_attempts,
        "unique_key": run.unique_key,
        "parent": run.parent,
        "tenant": run.tenant,
        "fallback": run.fallback,
        "fallback_source": run.fallback_source,
        "limit_key": run.limit_key,
        "rate_key": run.rate_key,
        "again_of": run.again_of,
        "trace": run.trace,
        "state": "pending",
    }
    if run.refusal is not None:
        columns["state"], failure = run.refusal
        columns["error"] = failure.as_text()
        columns["fingerprint"] = fingerprint_of(failure) if columns["state"] == "dead" else None
    return {name: value for name, value in columns.items() if value is not None}


def _bind(name: str, schema: str, style: Style, values: Mapping[str, str]) -> tuple[str, Parameters]:
    text, order = _rendered(name, schema, style)
    if style in _NAMED:
        return text, {name: values[name] for name in order}
    return text, tuple(values[name] for name in order)


@cache
def _rendered(name: str, schema: str, style: Style) -> tuple[str, tuple[str, ...]]:
    """A statement in a style, and the names of its parameters in their order."""
    statement = Statement(getattr(load("tako_lite.store.postgres", "transactional"), name).replace("{schema}", schema))
    order = statement.parameters
    if style == "numeric":
        return replace_parameters(statement, lambda parameter: f"${order.index(parameter) + 1}"), order
    return replace_parameters(statement, _NAMED.get(style) or _POSITIONAL[style]), order
