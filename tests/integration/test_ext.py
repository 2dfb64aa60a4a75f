"""`tako_lite.ext` with the real SDKs in real workers; what they send is written to a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.project import Project, wait_until
from tests.support.web import dashboard_of

TELEMETRY = """\
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sentry_sdk.transport import Transport

ROOT = os.path.dirname(os.path.abspath(__file__))

def note(file, **facts):
    descriptor = os.open(os.path.join(ROOT, file), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\\n")
    os.close(descriptor)

class FileExporter(SpanExporter):
    def export(self, spans):
        for span in spans:
            note(
                "spans.jsonl",
                name=span.name,
                kind=span.kind.name,
                trace=span.context.trace_id,
                id=span.context.span_id,
                parent=span.parent and span.parent.span_id,
                links=[link.context.span_id for link in span.links],
                attributes=dict(span.attributes),
                events=[event.name for event in span.events],
                status=span.status.status_code.name,
            )
        return SpanExportResult.SUCCESS

class Processor(SimpleSpanProcessor):
    def force_flush(self, timeout_millis=0):
        note("flushed.jsonl", what="otel")
        return True

def provide():
    provider = TracerProvider()
    provider.add_span_processor(Processor(FileExporter()))
    trace.set_tracer_provider(provider)

def otel():
    from tako_lite.ext import otel
    provide()
    otel.install(tenant=True)

def otel_child():
    from tako_lite.ext import otel
    provide()
    otel.install(traces="child")

class FileTransport(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            note("sentry.jsonl", **{**item.payload.json, "type": item.type})

    def flush(self, timeout, callback=None):
        note("flushed.jsonl", what="sentry")

OPTIONS = dict(dsn="https://key@localhost/1", transport=FileTransport)

def sentry():
    from tako_lite.ext import sentry
    sentry.install(**OPTIONS)

def sentry_last():
    from tako_lite.ext import sentry
    sentry.install(report="last", monitors=False, **OPTIONS)
"""
SENDER = """\
import sys, telemetry
from opentelemetry import trace
from tako_lite import Client

telemetry.provide()
with trace.get_tracer("test").start_as_current_span("request"):
    print(Client().enqueue(sys.argv[1]).id)
"""
WORKFLOWS = """
    @workflow("ok", worker="otel")
    async def ok(payload, step: Step):
        await step.run("a", str, 1)
        return await step.run("b", str, 2)

    @workflow("again", worker="otel", retries=1, backoff=Backoff(base=0.01))
    async def again(payload, step: Step):
        await step.run("a", str, 1)
        if step.attempt == 1:
            raise LookupError("once")
        await step.run("b", str, 2)

    @workflow("naps", worker="otel")
    def naps(payload, step: BlockingStep):
        step.run("a", str, 1)
        step.sleep("nap", 1.2)
        step.run("b", str, 2)

    @workflow("bails", worker="otel")
    async def bails(payload, step: Step):
        step.bail("enough")

    @workflow("parent", worker="otel")
    async def parent(payload, step: Step):
        return await step.invoke("child", "ok")

    @workflow("crashes", worker="otel")
    async def crashes(payload, step: Step):
        first = await step.run("pid", os.getpid)
        if first == os.getpid():
            os.kill(os.getpid(), signal.SIGKILL)
        await step.run("b", str, 2)

    @workflow("child-of", worker="otel-child")
    async def child_of(payload): ...

    @workflow("fails", worker="sentry", retries=1, backoff=Backoff(base=0.01))
    async def fails(payload, step: Step):
        raise LookupError(payload)

    @workflow("fails-at-last", worker="sentry-last", retries=1, backoff=Backoff(base=0.01), schedule="@yearly")
    async def fails_at_last(payload, step: Step):
        raise LookupError(payload)

    @workflow("fine", worker="sentry")
    async def fine(payload, step: Step):
        if payload == "bail":
            step.bail("enough")
        if payload == "retry" and not os.path.exists("retried"):
            open("retried", "w").close()
            step.retry(0.01)
        if payload == "park":
            await step.sleep("nap", 1.2)

    @workflow("dies", worker="sentry", retries=0)
    async def dies(payload, step: Step):
        raise LookupError("gone")

    @workflow("told", on_dead="dies")
    async def told(death, step: Step):
        return death["run_id"]

    @workflow("step-fail", worker="sentry")
    async def step_fail(payload, step: Step):
        step.fail(OSError("disk"))

    @workflow("too-slow", worker="sentry", retries=0, timeout=0.1)
    async def too_slow(payload, step: Step):
        await asyncio.sleep(60)

    @workflow("Night.Report", worker="sentry", schedule="30 3 * * *", timezone="Europe/Berlin", retries=1)
    async def night(payload, step: Step):
        if step.attempt == 1:
            raise LookupError("once")
"""
TOML = """
    [workflows.otel]
    setup = "telemetry:otel"

    [workflows.otel-child]
    setup = "telemetry:otel_child"

    [workflows.sentry]
    setup = "telemetry:sentry"

    [workflows.sentry-last]
    setup = "telemetry:sentry_last"
"""


@pytest.fixture(scope="module")
def shop(live: Project) -> Iterator[Project]:
    """The live project, whose groups have one of the integrations each."""
    (live.root / "telemetry.py").write_text(TELEMETRY)
    live.configure(TOML)
    live.add("a.py", WORKFLOWS)
    return live


def lines(project: Project, file: str) -> list[dict[str, Any]]:
    """What was written to a file, a line each."""
    path = project.root / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def send(project: Project, workflow: str) -> str:
    """Enqueue a run in a span of another program, and wait for its end; its id."""
    done = subprocess.run(
        [sys.executable, "-c", SENDER, workflow], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(project.wait(done.stdout.strip())["id"])


def tree(project: Project, run_id: str) -> list[str]:
    """The spans of a run, those within another one indented, with what each is linked to."""
    spans = lines(project, "spans.jsonl")
    names = {span["id"]: span["name"] for span in spans}
    found: list[str] = []

    def draw(span: dict[str, Any], depth: int) -> None:
        links = "".join(f" -> {names[link]}" for link in span["links"])
        facts = [span["attributes"].get("tako.outcome"), *span["events"]]
        facts += [span["status"]] if span["status"] != "UNSET" else []
        shown = " ".join(filter(None, facts))
        found.append("  " * depth + f"{span['kind']} {span['name']}{f' ({shown})' if shown else ''}{links}")
        for inner in spans:
            if inner["parent"] == span["id"]:
                draw(inner, depth + 1)

    for span in spans:
        is_root = span["parent"] is None or span["parent"] not in names
        if is_root and span["attributes"].get("messaging.message.id") == run_id:
            draw(span, 0)
    return found


# OpenTelemetry


def test_a_run_that_succeeds_is_a_trace_linked_to_its_enqueue(shop: Project) -> None:
    run_id = send(shop, "ok")
    assert tree(shop, run_id) == ["CONSUMER process ok (succeeded) -> send ok", "  INTERNAL step a", "  INTERNAL step b"]
    spans = {span["name"]: span for span in lines(shop, "spans.jsonl")}
    assert spans["send ok"]["kind"] == "PRODUCER"
    assert spans["send ok"]["parent"] == spans["request"]["id"]
    assert spans["process ok"]["trace"] != spans["request"]["trace"]
    assert spans["process ok"]["attributes"] == {
        "messaging.system": "tako_lite",
        "messaging.operation.type": "process",
        "messaging.destination.name": "otel",
        "messaging.message.id": run_id,
        "tako.workflow": "ok",
        "tako.attempt": 1,
        "tako.outcome": "succeeded",
    }


def test_a_retry_makes_no_span_for_a_step_that_has_its_value(shop: Project) -> None:
    run_id = send(shop, "again")
    assert tree(shop, run_id) == [
        "CONSUMER process again (failed exception ERROR) -> send again",
        "  INTERNAL step a",
        "CONSUMER process again (succeeded) -> send again",
        "  INTERNAL step b",
    ]


def test_a_park_ends_a_span_without_an_error_and_a_sleep_has_none(shop: Project) -> None:
    run_id = send(shop, "naps")
    assert tree(shop, run_id) == [
        "CONSUMER process naps (parked parked) -> send naps",
        "  INTERNAL step a",
        "CONSUMER process naps (succeeded) -> send naps",
        "  INTERNAL step b",
    ]


def test_a_bail_is_no_error(shop: Project) -> None:
    run = shop.run("bails")
    assert tree(shop, run["id"]) == ["CONSUMER process bails (bailed OK)"]


def test_a_child_is_linked_to_the_attempt_that_invoked_it(shop: Project) -> None:
    run_id = send(shop, "parent")
    with shop.client() as client:
        (child,) = [run for run in client.call("runs", workflow="ok")["runs"] if run["parent"] == run_id]
    attempt, sent, *_ = tree(shop, run_id)  # it may park while it waits
    assert attempt.startswith("CONSUMER process parent (")
    assert attempt.endswith(") -> send parent")
    assert sent == "  PRODUCER send ok"
    assert tree(shop, child["id"])[0] == "CONSUMER process ok (succeeded) -> send ok"
    spans = lines(shop, "spans.jsonl")
    (made,) = [span for span in spans if span["attributes"].get("messaging.message.id") == child["id"] and span["links"]]
    (sender,) = [span for span in spans if span["id"] == made["links"][0]]
    (invoker,) = [span for span in spans if span["id"] == sender["parent"]]
    assert invoker["attributes"]["messaging.message.id"] == run_id


def test_a_crash_leaves_the_steps_that_ended_before_it(shop: Project) -> None:
    run_id = send(shop, "crashes")
    assert tree(shop, run_id) == [
        "INTERNAL step pid",
        "CONSUMER process crashes (succeeded) -> send crashes",
        "  INTERNAL step b",
    ]


def test_an_attempt_may_be_a_child_of_the_enqueue(shop: Project) -> None:
    run_id = send(shop, "child-of")
    spans = lines(shop, "spans.jsonl")
    (attempt,) = [span for span in spans if span["attributes"].get("messaging.message.id") == run_id]
    (sender,) = [span for span in spans if span["id"] == attempt["parent"]]
    assert (sender["name"], sender["trace"], attempt["links"]) == ("send child-of", attempt["trace"], [])


# Sentry


def events(project: Project, run_id: str) -> list[dict[str, Any]]:
    """The events that were sent for a run."""
    found = [item for item in lines(project, "sentry.jsonl") if item["type"] == "event"]
    return [event for event in found if event["contexts"]["tako"]["id"] == run_id]


def errors(project: Project, run_id: str) -> list[tuple[str, str]]:
    """The type of each error that was sent for a run, and the number of its attempt."""
    return [(event["exception"]["values"][-1]["type"], event["tags"]["attempt"]) for event in events(project, run_id)]


def test_each_failed_attempt_sends_an_event_with_tags(shop: Project) -> None:
    run = shop.run("fails", "boom")
    assert errors(shop, run["id"]) == [("LookupError", "1"), ("LookupError", "2")]
    (_, last) = events(shop, run["id"])
    assert last["tags"] == {"workflow": "fails", "group": "sentry", "attempt": "2"}
    assert last["contexts"]["tako"]["is_final"] is True
    assert last["exception"]["values"][-1]["value"] == "boom"
    assert last["exception"]["values"][-1]["mechanism"] == {"type": "tako_lite", "handled": False}


def test_only_the_last_attempt_sends_one_where_that_was_chosen(shop: Project) -> None:
    run = shop.run("fails-at-last")
    assert errors(shop, run["id"]) == [("LookupError", "2")]


@pytest.mark.parametrize("payload", ["park", "retry", "bail"])
def test_what_leaves_a_handler_without_a_failure_sends_nothing(shop: Project, payload: str) -> None:
    run = shop.run("fine", payload)
    assert run["state"] in ("succeeded", "cancelled")
    assert events(shop, run["id"]) == []


def test_a_death_is_in_the_log_in_a_hook_run_at_sentry_and_on_the_dashboard(shop: Project) -> None:
    id = shop.run("dies")["id"]
    assert errors(shop, id) == [("LookupError", "1")]
    wait_until(lambda: [run for run in shop.call("runs", workflow="told")["runs"] if run["result"] == id], "the hook ran")
    assert any(id in line and "dead" in line for line in shop.daemon_log().splitlines())
    with dashboard_of(shop.root) as web:
        dead = shop.call("count", states=["dead"], discarded=False)["count"]
        assert f"({dead} dead)" in web.page("/")


def test_step_fail_and_a_timeout_send_their_errors(shop: Project) -> None:
    assert errors(shop, shop.run("step-fail")["id"]) == [("OSError", "1")]
    assert errors(shop, shop.run("too-slow")["id"]) == [("TimedOut", "1")]


def test_the_trace_of_the_enqueue_is_continued(shop: Project) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    run = shop.run("fails", "traced", trace=f"00-{trace}-00f067aa0ba902b7-01")
    assert {event["contexts"]["trace"]["trace_id"] for event in events(shop, run["id"])} == {trace}


def test_a_run_of_a_schedule_checks_in_once_however_many_attempts_it_takes(shop: Project) -> None:
    run = shop.run("Night.Report")
    check_ins = [item for item in lines(shop, "sentry.jsonl") if item["type"] == "check_in"]
    assert [(each["monitor_slug"], each["status"]) for each in check_ins] == [
        ("night-report", "in_progress"),
        ("night-report", "ok"),
    ]
    assert {each["check_in_id"] for each in check_ins} == {run["id"].replace("-", "")}
    assert check_ins[0]["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "30 3 * * *"},
        "timezone": "Europe/Berlin",
    }


def test_both_are_flushed_when_their_worker_ends(shop: Project) -> None:
    shop.run("ok")
    shop.run("fine")
    before = len(lines(shop, "flushed.jsonl"))
    for worker in shop.group("otel")["workers"] + shop.group("sentry")["workers"]:
        assert os.kill(worker["pid"], 0) is None
    (shop.root / "telemetry.py").write_text(TELEMETRY + "\n# edited\n")
    shop.call("reload")
    wait_until(
        lambda: {"otel", "sentry"} <= {line["what"] for line in lines(shop, "flushed.jsonl")[before:]}, "both are flushed"
    )
