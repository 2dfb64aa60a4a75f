"""The options of `enqueue` as callers write them, and how each becomes a plain JSON value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from tako_lite.clock import milliseconds
from tako_lite.errors import BadInput
from tako_lite.tracing import TRACEPARENT
from tako_lite.units import duration

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import TypeAlias

    from tako_lite.options import Fallback

    Duration: TypeAlias = float | timedelta | str


class EnqueueOptions(TypedDict, total=False):
    """The options of `enqueue`; `id` is a UUID of your own, so that a retry never makes a second run.

    `trace` is a W3C traceparent; without it the active span of OpenTelemetry or Sentry counts.
    """

    unique_key: str | None
    delay: Duration | None
    at: datetime | str | None
    priority: int
    retries: int | None
    worker: str | None
    fallback: Fallback | None
    tenant: str | None
    trace: str | None
    id: str | None


class ClientOptions(EnqueueOptions, total=False):
    """The options of a client's `enqueue`: `connection` and `notify` say in whose transaction the run is stored, and how."""

    connection: Any
    notify: bool


def read_options(given: Mapping[str, Any], allowed: Iterable[str]) -> dict[str, Any]:
    """The options as arguments of the command; None is the same as leaving an option out. Raises BadInput."""
    arguments = {}
    for option, value in given.items():
        if option not in allowed:
            from tako_lite.hints import did_you_mean  # only needed once something is wrong

            hint = did_you_mean(option, allowed) or f"options: {', '.join(allowed)}"
            raise BadInput(f"{option} is not an option here", hint=hint)
        if value is not None:
            arguments["run_id" if option == "id" else option] = _READERS[option](option, value)
    return arguments


def text(option: str, value: object) -> str:
    """The value, if it is text. Raises BadInput."""
    if not isinstance(value, str):
        raise BadInput(f"{option} must be text, not {type(value).__name__}")
    return value


def _trace(option: str, value: object) -> str:
    if not isinstance(value, str) or not TRACEPARENT.fullmatch(value):
        raise BadInput(f"{option} must be a W3C traceparent", hint='such as "00-4bf9…4736-00f0…02b7-01", version 00')
    return value


def _integer(option: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{option} must be an integer, not {type(value).__name__}")
    if abs(value) >= 1 << 256:  # its digits would fill the message that names the range
        raise BadInput(f"{option} is out of range")
    return value


def _delay(option: str, value: Any) -> float:
    return duration(value)


def _moment(option: str, value: object) -> int:
    if not isinstance(value, datetime | str):
        raise BadInput(f"{option} must be a datetime or ISO text, not {type(value).__name__}")
    return milliseconds(value)


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "unique_key": text,
    "delay": _delay,
    "at": _moment,
    "priority": _integer,
    "retries": _integer,
    "worker": text,
    "fallback": text,
    "tenant": text,
    "trace": _trace,
    "id": text,
}
OPTIONS: Final = tuple(_READERS)
OPTIONS_OF_ONE_RUN: Final = ("unique_key", "id")
OPTIONS_OF_MANY: Final = tuple(option for option in OPTIONS if option not in OPTIONS_OF_ONE_RUN)
