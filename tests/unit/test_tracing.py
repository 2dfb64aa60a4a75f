"""Where the trace context of an enqueue comes from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider

from tako_lite import tracing
from tako_lite.client import Client
from tako_lite.errors import BadInput

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of a project without a daemon."""
    (tmp_path / "tako.toml").touch()
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/a.py").write_text(
        'from tako_lite import workflow\n@workflow("greet")\nasync def greet(payload): ...\n'
    )
    return Client(tmp_path)


def test_a_traceparent_may_be_given(client: Client) -> None:
    client.enqueue("greet", trace=TRACE)
    client.enqueue_many("greet", [1, 2], trace=TRACE)


@pytest.mark.parametrize("trace", ["", "00-1-2-01", TRACE.replace("00-4", "01-4"), TRACE.upper(), 7])
def test_what_is_no_traceparent_is_refused(client: Client, trace: str) -> None:
    with pytest.raises(BadInput, match="traceparent"):
        client.enqueue("greet", trace=trace)


def test_a_request_that_carries_no_traceparent_is_refused(client: Client) -> None:
    with pytest.raises(BadInput, match="traceparent"):
        client.call("enqueue", workflow="greet", trace="x" * 1_000)


def test_no_context_is_made_without_a_recording_span_or_an_active_client() -> None:
    assert tracing.is_loaded()
    with tracing.sending("greet") as trace:
        assert trace is None


def test_the_trace_of_sentry_becomes_a_traceparent() -> None:
    with sentry_sdk.new_scope() as scope:
        scope.set_client(sentry_sdk.Client("https://key@localhost/1", default_integrations=False))
        with tracing.sending("greet") as trace:
            assert trace is not None
            assert trace.split("-")[1] == (sentry_sdk.get_traceparent() or "").split("-")[0]
            assert tracing.TRACEPARENT.fullmatch(trace)


def test_the_traceparent_is_that_of_a_producer_in_the_active_span() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("request") as span, tracing.sending("greet") as trace:
        context = span.get_span_context()
        # The provider of this process is none, so the producer is the span around it.
        assert trace == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_neither_package_is_imported_by_a_client() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('sentry', 'opentelemetry'))]"
    program = f"import sys; from tako_lite import Client, hooks; print({loaded})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
