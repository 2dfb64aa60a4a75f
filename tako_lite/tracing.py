"""The trace context of an enqueue, from OpenTelemetry or Sentry where the program has loaded one; neither is imported here.

The attributes are those of OpenTelemetry's conventions for messaging, which are not stable yet.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

TRACER: Final = "tako_lite"
SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE: Final = "messaging.message.id"
TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SENTRY_TRACE: Final = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})(-[01])?")


def is_loaded() -> bool:
    """Whether the program may trace."""
    return "opentelemetry.trace" in sys.modules or "sentry_sdk" in sys.modules


@contextmanager
def sending(workflow: str) -> Iterator[str | None]:
    """The W3C traceparent for a run that is enqueued in this block, or None.

    Where a span of OpenTelemetry is recording, the block is a span of its own, `send WORKFLOW`.
    """
    otel: Any = sys.modules.get("opentelemetry.trace")
    if otel is None or not otel.get_current_span().is_recording():
        yield _of_sentry()
        return
    attributes = {SYSTEM: TRACER, OPERATION: "send", "tako.workflow": workflow}
    tracer = otel.get_tracer(TRACER)
    with tracer.start_as_current_span(f"send {workflow}", kind=otel.SpanKind.PRODUCER, attributes=attributes) as span:
        context = span.get_span_context()
        yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _of_sentry() -> str | None:
    """The trace of the current scope of Sentry, if its SDK is in use."""
    sentry: Any = sys.modules.get("sentry_sdk")
    if sentry is None or not sentry.get_client().is_active():
        return None
    found = _SENTRY_TRACE.fullmatch(sentry.get_traceparent() or "")
    return None if found is None else f"00-{found[1]}-{found[2]}-{'01' if found[3] == '-1' else '00'}"
