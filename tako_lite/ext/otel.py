"""Spans of OpenTelemetry around attempts and steps. Needs `opentelemetry-api`; without its SDK nothing is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from tako_lite import hooks
from tako_lite.errors import Unwind
from tako_lite.tracing import DESTINATION, MESSAGE, OPERATION, SYSTEM, TRACEPARENT, TRACER

Relation = Literal["link", "child", "none"]
FLUSH_MS: Final = 2_000
_UNDONE: Final = frozenset({"parked", "released", "postponed", "superseded"})
"""Outcomes after which the run continues in another attempt or worker: events, not errors."""


def install(*, traces: Relation = "link", tenant: bool = False) -> None:
    """Register the hooks. Call it in the `setup` of a group, after the provider of traces was set.

    An attempt is a span `process WORKFLOW`, which is linked to the span of the enqueue, or its child, or neither. A step that
    is executed is a span `step NAME` in it. With `tenant` the attempts have the attribute `tako.tenant`.
    """
    tracer = trace.get_tracer(TRACER)

    async def attempt(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
        sender = _span_context(run.trace)
        context, links = _relation(traces, sender)
        attributes = _attributes(run, tenant=tenant)
        with tracer.start_as_current_span(
            f"process {run.workflow}",
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await proceed()
            except BaseException as error:
                _note_end(span, run, error)
                raise
            finally:
                span.set_attribute("tako.outcome", run.outcome or "")

    async def step(step: hooks.StepInfo, proceed: hooks.Proceed) -> object:
        attributes: dict[str, Any] = {MESSAGE: step.run.id, "tako.step": step.name, "tako.attempt": step.attempt}
        with tracer.start_as_current_span(
            f"step {step.name}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return await proceed()
            except Exception as error:
                _fail(span, error)
                raise

    hooks.around(attempt)
    hooks.around_step(step)
    hooks.teardown(_flush)


def _relation(traces: Relation, sender: SpanContext | None) -> tuple[Context, Sequence[Link]]:
    """The context of an attempt's span, and its links. Without a parent it begins a trace of its own."""
    if sender is not None and traces == "child":
        return trace.set_span_in_context(NonRecordingSpan(sender), Context()), ()
    return Context(), (Link(sender),) if sender is not None and traces == "link" else ()


def _span_context(traceparent: str | None) -> SpanContext | None:
    found = TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))


def _attributes(run: hooks.RunInfo, *, tenant: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        SYSTEM: TRACER,
        OPERATION: "process",
        DESTINATION: run.group,
        MESSAGE: run.id,
        "tako.workflow": run.workflow,
        "tako.attempt": run.attempt,
    }
    if tenant and run.tenant is not None:
        attributes["tako.tenant"] = run.tenant
    return attributes


def _note_end(span: Span, run: hooks.RunInfo, error: BaseException) -> None:
    """Tell a failure from an attempt that was left for another reason."""
    if run.outcome in ("failed", "timeout"):
        _fail(span, error)
    elif run.outcome in _UNDONE:
        span.add_event(run.outcome)
    elif run.outcome == "bailed":
        span.set_status(StatusCode.OK)
        span.set_attribute("tako.reason", str(error))


def _fail(span: Span, error: BaseException) -> None:
    cause = getattr(error, "error", None) if isinstance(error, Unwind) else error
    shown = cause if isinstance(cause, BaseException) else error
    span.record_exception(shown)
    span.set_status(StatusCode.ERROR, f"{type(shown).__name__}: {shown}")


def _flush() -> None:
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(FLUSH_MS)
