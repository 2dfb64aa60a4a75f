"""`tako_lite.hooks` in real workers: around attempts and steps, and at the end of a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project, wait_until
from tests.support.run_logs import wait_for_text

HOOKS = """\
import asyncio, atexit, contextvars, json, logging, logging.handlers, os, threading
from tako_lite import hooks

SPAN = contextvars.ContextVar("span", default=None)

def note(kind, **facts):
    line = json.dumps({"kind": kind, **facts}) + "\\n"
    descriptor = os.open("hooked.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)

@hooks.around
async def outer(run: hooks.RunInfo, proceed):
    before = run.outcome
    SPAN.set(f"attempt {run.attempt}")
    try:
        return await proceed()
    except BaseException as error:
        note("raised", id=run.id, error=type(error).__name__)
        raise
    finally:
        note("attempt", before=before, **run.as_dict())

@hooks.around
async def troubled(run: hooks.RunInfo, proceed):
    how = "swallows" if run.workflow == "swallows" else run.workflow if run.workflow.startswith("hook-") else None
    if how == "hook-before":
        raise ValueError("before")
    try:
        value = await proceed()
    except BaseException:
        if how == "swallows":
            return "swallowed"
        raise
    if how == "hook-after" and run.attempt == 1:
        raise ValueError("after")
    return value

@hooks.around_step
async def around_step(step: hooks.StepInfo, proceed):
    SPAN.set(f"step {step.name}")
    if step.run.workflow == "step-hook" and step.run.attempt == 1:
        await proceed()
        raise ValueError("in a step hook")
    error = None
    try:
        return await proceed()
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        note("step", id=step.run.id, name=step.name, attempt=step.attempt, error=error)

@hooks.teardown
def plain():
    note("teardown", what="plain", main=threading.current_thread() is threading.main_thread())

@hooks.teardown
async def asynchronous():
    await asyncio.sleep(0)
    note("teardown", what="async")

@hooks.teardown
def broken():
    raise ValueError("of a teardown")

atexit.register(note, "teardown", what="atexit")

def tear_down():
    note("teardown", what="setting")

def setup():
    kept = logging.handlers.MemoryHandler(100, target=logging.FileHandler("kept.log"))
    logging.getLogger("kept").addHandler(kept)
    logging.getLogger("kept").error("kept until the end")
"""

WORKFLOWS = """
    from shop import hooks as ours

    @workflow("steps", retries=1)
    async def steps(payload, step: Step):
        async def on_the_loop():
            return ours.SPAN.get()
        spans = [ours.SPAN.get(), await step.run("async", on_the_loop), await step.run("thread", ours.SPAN.get)]
        if step.attempt == 1:
            raise LookupError("once")
        return [*spans, ours.SPAN.get()]

    @workflow("blocking", schedule="0 0 1 1 *", timezone="Europe/Berlin")
    def blocking(payload, step: BlockingStep):
        tries = []
        def flaky():
            tries.append(ours.SPAN.get())
            if len(tries) == 1:
                raise LookupError("once")
            return tries
        return [ours.SPAN.get(), step.run("flaky", flaky, retries=1, backoff=Backoff(base=0.01))]

    @workflow("ends", retries=0)
    async def ends(payload, step: Step):
        if payload == "park" and step.attempt == 1:
            await step.sleep("nap", 1.2)
        elif payload == "retry" and not os.path.exists("retried"):
            open("retried", "w").close()
            step.retry(0.01)
        elif payload == "bail":
            step.bail("enough")
        elif payload == "fail":
            step.fail("no")
        elif payload == "wait":
            await step.wait_for("never")

    @workflow("slow", timeout=0.1, retries=0)
    async def slow(payload):
        await asyncio.sleep(30)

    @workflow("slow-step", retries=0)
    async def slow_step(payload, step: Step):
        await step.run("slow", asyncio.sleep, 60, timeout=0.05)

    @workflow("swallows", retries=0)
    async def swallows(payload, step: Step):
        if payload == "park":
            await step.sleep("nap", 1.2)
            return "slept"
        raise LookupError("lost?")

    @workflow("hook-before", retries=0)
    async def hook_before(payload):
        witness("called")

    @workflow("hook-after", retries=1, backoff=Backoff(base=0.01))
    async def hook_after(payload):
        return "done"

    @workflow("step-hook", retries=1, backoff=Backoff(base=0.01))
    async def step_hook(payload, step: Step):
        return await step.run("once", lambda: witness("body") or "stored")

    @workflow("parent")
    async def parent(payload, step: Step):
        return await step.invoke("child", "ends", "ok")

    @workflow("unhooked", worker="unhooked")
    async def unhooked(payload, step: Step):
        return await step.run("a", ours_or_none)

    def ours_or_none():
        return step_count()

    def step_count():
        return 1
"""

TOML = """
    [workflows]
    setup = "shop.hooks:setup"
    teardown = "shop.hooks:tear_down"
"""


@pytest.fixture(scope="module")
def shop(live: Project) -> Iterator[Project]:
    """The live project, whose workers have hooks, with all workflows of this module."""
    (live.root / "shop").mkdir()
    (live.root / "shop/__init__.py").touch()
    (live.root / "shop/hooks.py").write_text(HOOKS)
    live.configure(TOML)
    live.add("a.py", WORKFLOWS)
    return live


def noted(project: Project, kind: str, run_id: str | None = None) -> list[dict[str, object]]:
    """What the hooks have written, of one run or of all."""
    file = project.root / "hooked.jsonl"
    facts = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [fact for fact in facts if fact["kind"] == kind and run_id in (None, fact.get("id"))]


def outcomes(project: Project, run_id: str) -> list[tuple[object, object]]:
    """How each attempt of a run ended, and whether it was the last."""
    return [(fact["outcome"], fact["is_final"]) for fact in noted(project, "attempt", run_id)]


def test_hooks_are_around_each_attempt_and_each_step_that_is_executed(shop: Project) -> None:
    run = shop.run("steps")
    assert run["result"] == ["attempt 2", "step async", "step thread", "attempt 2"]
    assert outcomes(shop, run["id"]) == [("failed", False), ("succeeded", True)]
    assert [fact["name"] for fact in noted(shop, "step", run["id"])] == ["async", "thread"]
    (first, _) = noted(shop, "attempt", run["id"])
    assert {key: first[key] for key in ("before", "workflow", "group", "attempt", "max_attempts", "parent", "schedule")} == {
        "before": None,
        "workflow": "steps",
        "group": "default",
        "attempt": 1,
        "max_attempts": 2,
        "parent": None,
        "schedule": None,
    }


def test_a_step_of_a_plain_function_sees_the_context_of_its_hooks_and_each_try_has_its_own(shop: Project) -> None:
    run = shop.run("blocking")
    assert run["result"] == ["attempt 1", ["step flaky", "step flaky"]]
    steps = noted(shop, "step", run["id"])
    assert [(fact["attempt"], fact["error"]) for fact in steps] == [(1, "LookupError"), (2, None)]
    (attempt,) = noted(shop, "attempt", run["id"])
    assert (attempt["schedule"], attempt["timezone"]) == ("0 0 1 1 *", "Europe/Berlin")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("park", ["parked", "succeeded"]),
        ("retry", ["postponed", "succeeded"]),
        ("bail", ["bailed"]),
        ("fail", ["failed"]),
    ],
)
def test_the_outcome_distinguishes_an_unwind_from_a_failure(shop: Project, payload: str, expected: list[str]) -> None:
    run = shop.run("ends", payload)
    assert [outcome for outcome, _ in outcomes(shop, run["id"])] == expected
    assert [is_final for _, is_final in outcomes(shop, run["id"])] == [False] * (len(expected) - 1) + [True]


def test_a_timeout_and_a_cancel_are_outcomes(shop: Project) -> None:
    run = shop.run("slow")
    assert outcomes(shop, run["id"]) == [("timeout", True)]
    waiting = shop.enqueue("ends", "wait")
    shop.wait_for_state(waiting, "waiting")
    shop.command("cancel", waiting)
    assert outcomes(shop, waiting) == [("parked", False)]


def test_the_timeout_of_a_step_is_an_error_that_its_hooks_see(shop: Project) -> None:
    run = shop.run("slow-step")
    assert run["error"]["type"] == "TimeoutError"
    assert [fact["error"] for fact in noted(shop, "step", run["id"])] == ["TimeoutError"]


def test_a_child_knows_its_parent(shop: Project) -> None:
    run = shop.run("parent")
    (child,) = [fact for fact in noted(shop, "attempt") if fact["parent"] == run["id"]]
    assert child["workflow"] == "ends"


def test_a_hook_that_swallows_an_error_or_an_unwind_changes_nothing(shop: Project) -> None:
    failed = shop.run("swallows")
    assert (failed["state"], failed["error"]["type"]) == ("dead", "LookupError")
    slept = shop.run("swallows", "park")
    assert (slept["state"], slept["result"], slept["attempts"]) == ("succeeded", "slept", 1)
    assert [outcome for outcome, _ in outcomes(shop, slept["id"])] == ["parked", "succeeded"]


def test_a_hook_that_raises_fails_the_attempt_with_its_file_and_line(shop: Project) -> None:
    line = HOOKS.splitlines().index('        raise ValueError("before")') + 1
    run = shop.run("hook-before")
    assert run["state"] == "dead"
    assert run["error"]["type"] == "HookFailed"
    assert run["error"]["reason"] == "hook_failed"
    assert run["error"]["message"] == f"hook troubled at shop/hooks.py:{line}: ValueError: before"
    assert 'raise ValueError("before")' in run["error"]["traceback"]
    assert shop.facts("called") == []
    assert outcomes(shop, run["id"]) == [("failed", True)]
    assert [fact["error"] for fact in noted(shop, "raised", run["id"])] == ["HookFailed"]


def test_another_attempt_follows_one_that_a_hook_failed_after_the_handler(shop: Project) -> None:
    run = shop.run("hook-after")
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", "done", 2)
    assert outcomes(shop, run["id"]) == [("failed", False), ("succeeded", True)]


def test_a_step_whose_hook_fails_after_its_body_is_stored_and_does_not_run_again(shop: Project) -> None:
    run = shop.run("step-hook")
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", "stored", 2)
    assert len(shop.facts("body")) == 1


def test_a_hook_that_is_registered_later_applies_to_the_runs_after_that(shop: Project) -> None:
    (shop.root / "shop/late.py").write_text(
        "from tako_lite import hooks\nfrom shop import hooks as ours\n\n@hooks.around\n"
        'async def late(run, proceed):\n    ours.note("late", id=run.id)\n    return await proceed()\n'
    )
    shop.configure("[workflows.bare]\nconcurrency = 2\n")
    shop.add(
        "b.py",
        """
        @workflow("imports", worker="bare")
        async def imports(payload):
            from shop import late
        """,
    )
    first, second = shop.run("imports"), shop.run("imports")
    assert [noted(shop, "late", run["id"]) != [] for run in (first, second)] == [False, True]
    shop.configure(TOML)
    shop.call("reload")


def test_teardown_exit_handlers_and_loggers_run_when_a_worker_drains_or_was_idle(project: Project) -> None:
    (project.root / "shop").mkdir()
    (project.root / "shop/hooks.py").write_text(HOOKS)
    project.configure(TOML + 'idle_timeout = "50ms"\n')
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.run("ends")
    expected = [
        {"kind": "teardown", "what": "async"},
        {"kind": "teardown", "what": "plain", "main": False},
        {"kind": "teardown", "what": "setting"},
        {"kind": "teardown", "what": "atexit"},
    ]
    wait_until(lambda: noted(project, "teardown") == expected, "an idle worker ended")
    assert (project.root / "kept.log").read_text() == "kept until the end\n"
    wait_for_text(project, "ValueError: of a teardown")
    waiting = project.enqueue("ends", "wait")
    project.wait_for_state(waiting, "waiting")
    assert project.stop() == 0
    assert noted(project, "teardown") == expected * 2


def test_a_teardown_that_hangs_stops_no_others_and_ends_with_its_time(project: Project) -> None:
    Path(project.root / "ours.py").write_text(
        """\
import asyncio, time
from tako_lite import hooks

hooks.teardown(lambda: open("last", "w").close())

@hooks.teardown
async def hangs():
    await asyncio.sleep(600)

@hooks.teardown
def blocks():
    time.sleep(600)
"""
    )
    project.configure('[workflows]\nidle_timeout = "50ms"\ndrain_timeout = "1s"\n')
    project.workflow("a.py", 'import ours\n@workflow("a")\nasync def a(payload): ...\n')
    project.serve()
    project.run("a")
    wait_until((project.root / "last").exists, "the last function was called")
    wait_until(lambda: project.group("default")["workers"] == [], "the worker ended")
    assert "drain_timeout" not in project.daemon_log()
