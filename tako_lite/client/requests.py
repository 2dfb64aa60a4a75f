"""Requests: commands whose arguments are checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from tako_lite.client.request import Request
from tako_lite.clock import EARLIEST_MS, SystemClock, milliseconds
from tako_lite.enqueue_options import OPTIONS, OPTIONS_OF_MANY, read_options, text
from tako_lite.errors import BadInput, NotJson
from tako_lite.hints import did_you_mean
from tako_lite.records import Enqueued, new_id, new_ids
from tako_lite.units import duration
from tako_lite.wire import encode_value

MOST_AT_ONCE: Final = 1000
_TIMES: Final = frozenset({"since", "until", "ended_since", "ended_until"})
_SOURCE: Final = re.compile(r"[\w.-]{1,32}", re.ASCII)
CHUNK_BYTES: Final = 1024 * 1024


class Ids(list[str]):
    """The ids of new runs, in the order of their payloads; `warning` is that of `Enqueued`.

    `refused` is the number of runs that ended at once, `dead` or `cancelled`. Their errors have the reason.
    """

    warning: str | None = None
    refused: int = 0


class Outcomes(dict[str, str]):
    """The outcome of a command for each run, by its id.

    After a `retry`, `unstored` names the steps of each run that ran, but whose value could not be stored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unstored: dict[str, list[str]] = {}

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add the answer for a part of the runs."""
        self.update(answer["outcomes"])
        self.unstored.update(answer.get("unstored") or {})


def any_request(command: str, arguments: Mapping[str, Any]) -> Request:
    """A request by the names of the protocol. Runs without ids get new ones, and arguments that are None are left out."""
    rest = dict(arguments)
    if command == "enqueue":
        return _one_run(rest, payload_text(rest.pop("payload", None), "payload"))
    if command == "enqueue_many":
        texts = [payload_text(payload, f"payloads[{index}]") for index, payload in enumerate(rest.pop("payloads"))]
        rest["run_ids"] = rest.get("run_ids") or new_ids(len(texts))
        return Request(command, rest, texts)
    if command == "signal" or "payload" in rest:
        return Request(command, rest, [payload_text(rest.pop("payload", None), "payload")])
    return Request(command, rest)


def _one_run(arguments: dict[str, Any], text: str) -> Request:
    made_id = arguments.get("run_id") is None
    if made_id:
        arguments["run_id"] = new_id()
    return Request("enqueue", arguments, [text], made_id=made_id)


def enqueue(workflow: object, payload: object, options: Mapping[str, Any]) -> Request:
    """The request for one run of a workflow, given by name or by handle. A handle also checks the payload."""
    arguments = {"workflow": workflow_name(workflow), **read_options(options, OPTIONS)}
    return _one_run(arguments, _writer(workflow)(payload, "payload"))


def enqueue_many(workflow: object, payloads: Iterable[Any], options: Mapping[str, Any]) -> Iterator[Request]:
    """The requests for a run for each payload, each small enough for a frame. Payloads are consumed while they are sent."""
    if isinstance(payloads, str | bytes | Mapping):
        raise BadInput(f"payloads are a list or another iterable, not {type(payloads).__name__}")
    arguments = {"workflow": workflow_name(workflow), **read_options(options, OPTIONS_OF_MANY)}
    chunks = _chunks(payloads, _writer(workflow))
    return (Request("enqueue_many", {**arguments, "run_ids": new_ids(len(texts))}, texts) for texts in chunks)


def _chunks(payloads: Iterable[Any], write: Callable[[object, str], str]) -> Iterator[list[str]]:
    texts: list[str] = []
    size = 0
    for index, payload in enumerate(payloads):
        text = write(payload, f"payloads[{index}]")
        length = len(text) if text.isascii() else len(text.encode())
        if texts and (len(texts) == MOST_AT_ONCE or size + length > CHUNK_BYTES):
            yield texts
            texts, size = [], 0
        texts.append(text)
        size += length
    if texts:
        yield texts


def enqueued(answer: Mapping[str, Any]) -> Enqueued:
    """The record of an answer to `enqueue`."""
    return Enqueued(
        answer["id"], answer["state"], answer["group"], answer.get("deduplicated", False), answer.get("warning")
    )  # fmt: skip


def payload_text(payload: object, what: str) -> str:
    """The JSON text of a payload; dataclasses, models and times become plain values, as with a handle."""
    try:
        return encode_value(payload, what)
    except NotJson:
        from tako_lite.values import value_text  # most payloads are plain already

        return value_text(payload, what)


def _writer(workflow: object) -> Callable[[object, str], str]:
    """The function that encodes payloads: that of a handle also checks that its handler can read them."""
    return payload_text if isinstance(workflow, str) else getattr(workflow, "payload_text", payload_text)


def check_source(source: str | None) -> str | None:
    """Return what a client calls itself. Raises BadInput."""
    if source is not None and not _SOURCE.fullmatch(source):
        raise BadInput(f"{source!r} is no source for a client", hint="1 to 32 letters, digits, hyphens, underscores and dots")
    return source


class Filters(TypedDict, total=False):
    """The filters of `Client.runs`. A time is a `datetime` or ISO-8601 text, or an age: a `timedelta`, seconds, or `"2h"`."""

    group: str | None
    since: datetime | timedelta | str | float | None
    until: datetime | timedelta | str | float | None
    ended_since: datetime | timedelta | str | float | None
    ended_until: datetime | timedelta | str | float | None
    tenant: str | None
    unique_key: str | None
    parent: str | None
    reason: str | None
    fingerprint: str | None
    text: str | None
    error: str | None
    step: str | None
    has: str | Iterable[str] | None


def read_filter(workflow: object, state: str | Iterable[str] | None, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a filter. Raises BadInput."""
    if unknown := filters.keys() - Filters.__annotations__.keys():
        known = sorted({"workflow", "state", *Filters.__annotations__})
        name = min(unknown)
        raise BadInput(f"{name!r} is no filter of runs", hint=did_you_mean(name, known) or f"filters: {', '.join(known)}")
    states = [state] if isinstance(state, str) else list(state or ())
    has = filters.get("has")
    return {
        "workflow": None if workflow is None else workflow_name(workflow),
        "states": [text("state", word) for word in states] or None,
        **{name: _since(value) if name in _TIMES and value is not None else value for name, value in filters.items()},
        "has": [has] if isinstance(has, str) else list(has or ()) or None,
    }


def _since(since: datetime | str | float | timedelta) -> int:
    if isinstance(since, datetime):
        return milliseconds(since)
    try:
        ago = duration(since)
    except BadInput:
        if isinstance(since, str):
            return milliseconds(since)
        raise
    return max(EARLIEST_MS, SystemClock().now() - round(ago * 1000))


def workflow_name(workflow: object) -> str:
    """The name of a workflow, given by name or by handle. Raises BadInput."""
    name = workflow if isinstance(workflow, str) else getattr(workflow, "name", None)
    if not isinstance(name, str):
        raise BadInput(f"a workflow is given by its name or its handle, not as {type(workflow).__name__}")
    return name
