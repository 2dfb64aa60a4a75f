"""Errors and check-ins for Sentry. Needs `sentry-sdk`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import sentry_sdk
from sentry_sdk.crons import MonitorStatus, capture_checkin
from sentry_sdk.utils import event_from_exception

from tako_lite import hooks
from tako_lite.errors import Unwind
from tako_lite.tracing import TRACEPARENT

FLUSH_S: Final = 2.0
_NOT_IN_A_SLUG: Final = re.compile(r"[^a-z0-9_-]")


def install(
    dsn: str | None = None, *, report: Literal["every", "last"] = "every", monitors: bool = True, **options: Any
) -> None:
    """Register the hooks. Call it in the `setup` of a group; with a `dsn` it calls `sentry_sdk.init(dsn, **options)` first.

    Each attempt has a scope of its own with the workflow, the group and the number of the attempt. An event is sent for `every`
    attempt that fails, or for the `last` one only. Attempts that park, call `step.retry` or `step.bail`, or are cancelled send
    none. With `monitors` the runs of workflows with a schedule check in with a monitor of the workflow's name.
    """
    if dsn is not None:
        sentry_sdk.init(dsn, **options)

    async def attempt(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
        with sentry_sdk.isolation_scope() as scope, _checked_in(run, monitors), _transaction(run):
            for tag in ("workflow", "group", "attempt"):
                scope.set_tag(tag, str(getattr(run, tag)))
            scope.set_context("tako", run.as_dict())
            try:
                return await proceed()
            except BaseException as error:
                if run.outcome in ("failed", "timeout") and (run.is_final or report == "every"):
                    scope.set_context("tako", run.as_dict())
                    _capture(error)
                raise

    hooks.around(attempt)
    hooks.teardown(_flush)


@contextmanager
def _transaction(run: hooks.RunInfo) -> Iterator[None]:
    """Continue the trace of the enqueue; the attempt is a transaction, if the SDK samples traces."""
    headers: dict[str, Any] = {}
    if found := TRACEPARENT.fullmatch(run.trace or ""):
        headers["sentry-trace"] = f"{found[1]}-{found[2]}{'-1' if int(found[3], 16) & 1 else ''}"
    transaction = sentry_sdk.continue_trace(headers, op="queue.process", name=run.workflow, source="task")
    with sentry_sdk.start_transaction(transaction) as span:
        try:
            yield
        finally:
            span.set_status("internal_error" if run.outcome in ("failed", "timeout") else "ok")


@contextmanager
def _checked_in(run: hooks.RunInfo, monitors: bool) -> Iterator[None]:
    """Check in with the monitor of a workflow with a schedule: at the first attempt, and at the end of the run."""
    if run.schedule is None or not monitors:
        yield
        return
    slug = _NOT_IN_A_SLUG.sub("-", run.workflow.lower())[:50]
    check_in = run.id.replace("-", "")  # one for the run, however often it parks and is retried
    begun = time.monotonic()
    if run.attempt == 1:
        capture_checkin(slug, check_in, MonitorStatus.IN_PROGRESS, monitor_config=_monitor(run))
    try:
        yield
    finally:
        if run.is_final:
            status = MonitorStatus.ERROR if run.outcome in ("failed", "timeout") else MonitorStatus.OK
            capture_checkin(slug, check_in, status, time.monotonic() - begun)


def _monitor(run: hooks.RunInfo) -> Any:
    """The configuration of a monitor; None for a schedule with seconds, which Sentry does not know."""
    if run.schedule is None or len(run.schedule.split()) == 6:
        return None
    return {"schedule": {"type": "crontab", "value": run.schedule}, "timezone": run.timezone}


def _capture(error: BaseException) -> None:
    """Send the error that the project's code raised: `step.fail` and the errors of hooks come in an unwind."""
    cause = getattr(error, "error", None) if isinstance(error, Unwind) else None
    event, hint = event_from_exception(
        cause if isinstance(cause, BaseException) else error,
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": "tako_lite", "handled": False},
    )
    sentry_sdk.capture_event(event, hint=hint)


def _flush() -> None:
    sentry_sdk.flush(FLUSH_S)
