"""What an enqueue asks for, checked to be of the right types: one record from the control socket to the row of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRequest:
    """The options of an enqueue of one run or many; None means that the workflow or tako.toml decides.

    `delay` is in seconds, `at` in milliseconds since 1970, `trace` is a W3C traceparent. The field names are the JSON keys of
    the control socket, so the group is called `worker` here.
    """

    worker: str | None = None
    delay: float | None = None
    at: int | None = None
    priority: int | None = None
    retries: int | None = None
    fallback: str | None = None
    tenant: str | None = None
    trace: str | None = None
