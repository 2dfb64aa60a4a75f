"""The decorator and the handle that it makes."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tako_lite.backoff import Backoff
from tako_lite.errors import BadInput, NotJson
from tako_lite.options import WorkflowOptions, read_options
from tako_lite.workflow import Workflow, workflow

ROOT = Path(__file__).parents[2]


@dataclass
class Job:
    key: str
    sizes: tuple[int, ...] = ()


@workflow("resize", worker="media", retries=4, backoff=Backoff(base="5s"), timeout="10m", priority=-5, fallback="wait")
async def resize(payload: Job, step: object) -> str:
    """Make it smaller."""
    return payload.key


@workflow("count")
def count(payload: int) -> int:
    return payload + 1


def test_a_handle_carries_name_options_and_function() -> None:
    assert resize.name == "resize"
    assert resize.options == WorkflowOptions(
        worker="media", retries=4, backoff=Backoff(base=5), timeout=600.0, priority=-5, fallback="wait"
    )
    assert inspect.iscoroutinefunction(resize.function)
    assert "resize" in repr(resize)
    assert "media" in repr(resize)


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert count.options == WorkflowOptions(
        worker="default",
        retries=2,
        backoff=Backoff(base=1, max=3600),
        timeout=None,
        schedule=None,
        timezone="UTC",
        catch_up="latest",
        priority=0,
        fallback=None,
    )


def test_calling_a_handle_calls_the_function() -> None:
    assert count(2) == 3
    assert asyncio.run(resize(payload=Job("a"), step=None)) == "a"


def test_a_handle_looks_like_its_function() -> None:
    assert resize.__name__ == "resize"
    assert resize.__doc__ == "Make it smaller."
    assert list(inspect.signature(resize).parameters) == ["payload", "step"]


def test_attributes_of_the_function_do_not_replace_those_of_the_handle() -> None:
    def handler() -> None: ...

    handler.name = "other"  # type: ignore[attr-defined]
    assert workflow("mine")(handler).name == "mine"


def test_the_workflows_of_a_module_are_found_in_its_namespace() -> None:
    found = {thing.name for thing in vars(sys.modules[__name__]).values() if isinstance(thing, Workflow)}
    assert found == {"resize", "count"}


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        count.options.retries = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "x" * 129, "a\n", "../x"])
def test_a_name_outside_the_pattern_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="is not a name"):
        workflow(name)


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "0", "x" * 128])
def test_a_name_within_the_pattern_is_taken(name: str) -> None:
    assert workflow(name)(lambda: None).name == name


def test_the_decorator_without_a_name_says_so() -> None:
    with pytest.raises(BadInput, match="@workflow needs a name"):
        workflow(lambda: None)  # type: ignore[arg-type]


def test_two_decorators_on_one_function_are_refused() -> None:
    with pytest.raises(BadInput, match="@workflow is for a function"):
        workflow("second")(count)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("worker", "no spaces", "is not a name for a group"),
        ("worker", 3, "expected text, got 3"),
        ("worker", "{tier", "braces of a template"),
        ("worker", "{a b}", "braces of a template"),
        ("worker", "-{tier}", "makes no name"),
        ("retries", -1, "expected a whole number from 0 to 1,000,000, got -1"),
        ("retries", True, "expected a whole number from 0 to 1,000,000, got True"),
        ("retries", 1.5, "from 0 to 1,000,000, got 1.5"),
        pytest.param("retries", 1 << 20_000, "got int", id="huge-retries"),
        ("backoff", 5, r"expected Backoff\(…\), got 5"),
        ("timeout", "soon", "is not a duration"),
        ("timeout", -1, "negative"),
        ("timeout", 0, "longer than zero"),
        ("schedule", 5, "expected text"),
        ("timezone", None, "expected text"),
        ("catch_up", "some", 'expected "latest" or "none" or "all"'),
        ("priority", "high", "expected a whole number of seconds from -1,000,000,000 to 1,000,000,000"),
        ("priority", 10**10, "from -1,000,000,000 to 1,000,000,000, got 10000000000"),
        ("fallback", "retry", 'expected "wait" or "fail" or "cancel" or "ignore"'),
        pytest.param("fallback", 1 << 20_000, "got int", id="huge-fallback"),
        ("limit", 0, "expected a whole number from 1 to 1,000,000, got 0"),
        ("limit", "1", "expected a whole number from 1 to 1,000,000"),
        ("on_limit", "drop", 'expected "queue" or "cancel" or "fail"'),
        ("on_limit", "fail", "has no effect without"),
        ("limit_key", "customer_id", "has no effect without"),
        ("rate", "10", "is not a rate"),
        ("rate", "0/s", "is not a rate"),
        ("rate", "10001/d", "has too many events: at most 10,000"),
        ("rate", 10, "expected text"),
        ("retires", 1, "retires is not an option of @workflow"),
    ],
)
def test_a_bad_option_is_a_problem_of_that_option(option: str, value: object, message: str) -> None:
    options, problems = read_options({option: value})
    assert options == WorkflowOptions()
    assert list(problems) == [option]
    with pytest.raises(BadInput, match=message):
        raise BadInput(problems[option].message)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("rate", 10, "a count from 1 to 10,000 and a time"),
        ("rate", "0/s", "a count from 1 to 10,000 and a time"),
        ("schedule", 5, "0 3 * * *"),
        ("timezone", None, "Europe/Berlin"),
        ("worker", 5, "1 to 128 letters"),
        ("timeout", "soon", "a number with a unit"),
        ("timeout", 10**12, "the longest duration is 36525d"),
    ],
)
def test_the_hint_of_a_bad_option_says_what_is_allowed(option: str, value: object, allowed: str) -> None:
    assert allowed in str(read_options({option: value})[1][option].hint)


def test_the_decorator_raises_what_the_scan_would_report() -> None:
    with pytest.raises(BadInput, match="workflow x: retries: expected a whole number from 0 to"):
        workflow("x", retries=-1)


class Recorder:
    """Stands where the client is, to see what a handle hands over."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []

    def enqueue(self, handle: Workflow[..., Any], payload: Any, **options: Any) -> str:
        self.calls.append((handle.name, json.loads(handle.payload_text(payload)), options))
        return "enqueued"


class AsyncRecorder(Recorder):
    async def enqueue(self, handle: Workflow[..., Any], payload: Any, **options: Any) -> str:  # type: ignore[override]
        return super().enqueue(handle, payload, **options)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    client, asynchronous = Recorder(), AsyncRecorder()
    asynchronous.calls = client.calls
    module = types.ModuleType("tako_lite.client")
    module.default_client = lambda: client  # type: ignore[attr-defined]
    module.default_async_client = lambda: asynchronous  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tako_lite.client", module)
    return client


def test_enqueue_hands_the_handle_its_payload_and_options_to_the_client(recorder: Recorder) -> None:
    resize.enqueue(Job("a", (1, 2)), unique_key="a", delay="5m", priority=3)
    assert recorder.calls == [("resize", {"key": "a", "sizes": [1, 2]}, {"unique_key": "a", "delay": "5m", "priority": 3})]


def test_aenqueue_does_the_same_from_asyncio(recorder: Recorder) -> None:
    asyncio.run(count.aenqueue(5, worker="other"))
    assert recorder.calls == [("count", 5, {"worker": "other"})]


def test_a_handler_without_parameters_is_enqueued_without_a_payload(recorder: Recorder) -> None:
    @workflow("nightly")
    def nightly() -> None: ...

    nightly.enqueue()
    nightly.enqueue(None)
    assert recorder.calls == [("nightly", None, {}), ("nightly", None, {})]


def test_a_payload_that_contains_itself_is_refused(recorder: Recorder) -> None:
    @workflow("any")
    def anything(payload: Any) -> None: ...

    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotJson, match="contains itself"):
        anything.enqueue(loop)
    assert recorder.calls == []


def test_importing_the_decorator_loads_no_client_and_nothing_heavy() -> None:
    heavy = (
        "asyncio",
        "sqlite3",
        "typing_extensions",
        "cronsim",
        "zoneinfo",
        "tako_lite.client",
        "tako_lite.catalog",
    )
    program = f"import sys, tako_lite.workflow; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_type_checkers_know_the_payload_of_every_kind_of_handler() -> None:
    """The files mark what must be an error with `type: ignore`; mypy complains about a mark that nothing needs."""
    files = ["tests/typing/handles.py", "tests/typing/application.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stdout.splitlines() if line.startswith("tests/typing/")]
    assert complaints == []
    assert done.returncode in (0, 1), done.stdout + done.stderr
