"""Attempts that fail, take too long or are cancelled: what is charged, what is tried again, and how it ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.project import Project, rows, wait_until


def test_a_run_that_fails_is_tried_again_until_its_retries_are_used_up(live: Project) -> None:
    live.add(
        "fails.py",
        """
        @workflow("fails", retries=2, backoff=Backoff(base=0.05))
        async def fails(payload, step: Step):
            witness("fails", attempt=step.attempt)
            raise ValueError("no luck")

        @workflow("fails-blocking", retries=0)
        def blocking(payload):
            raise ValueError("no luck either")
        """,
    )
    run = live.run("fails")
    assert (run["state"], run["attempts"], run["max_attempts"]) == ("dead", 3, 3)
    assert (run["error"]["type"], run["error"]["message"], run["error"]["reason"]) == ("ValueError", "no luck", None)
    assert "raise ValueError" in run["error"]["traceback"]
    assert [fact["attempt"] for fact in live.facts("fails")] == [1, 2, 3]
    assert live.run("fails-blocking")["error"]["message"] == "no luck either"


def test_what_was_refused_is_not_tried_again_and_a_wrong_call_is_a_failure_like_any_other(live: Project) -> None:
    live.add(
        "wrong.py",
        """
        @workflow("no-duration", retries=1, backoff=Backoff(base=0.05))
        async def no_duration(payload, step: Step):
            await step.sleep("a while", "5 parsecs")

        @workflow("no-function", retries=1, backoff=Backoff(base=0.05))
        async def no_function(payload, step: Step):
            await step.run("nothing")
        """,
    )
    refused, failed = live.run("no-duration"), live.run("no-function")
    assert (refused["state"], refused["attempts"], refused["error"]["reason"]) == ("dead", 1, "bad_input")
    assert (failed["state"], failed["attempts"], failed["error"]["type"]) == ("dead", 2, "TypeError")
    shown = {row.split()[1]: row for row in rows(live.command("runs").stdout).values()}
    assert "  TypeError:" in shown["no-function"]
    assert "  bad_input:" in shown["no-duration"]


def test_a_coroutine_that_blocks_beyond_its_timeout_times_out_at_its_next_await(live: Project) -> None:
    live.add(
        "late.py",
        """
        import asyncio, time

        @workflow("late", timeout="100ms", retries=0)
        async def late(payload, step: Step):
            time.sleep(0.4)
            return "late"

        @workflow("late-and-waits", timeout="100ms", retries=0)
        async def late_and_waits(payload, step: Step):
            time.sleep(0.4)
            await asyncio.sleep(5)
        """,
    )
    done, over = live.run("late"), live.run("late-and-waits")
    assert (done["state"], done["result"]) == ("succeeded", "late")
    assert (over["state"], over["error"]["reason"]) == ("dead", "timeout")


def test_the_wait_between_attempts_doubles(live: Project) -> None:
    live.add(
        "backoff.py",
        """
        @workflow("backs-off", retries=3, backoff=Backoff(base=0.1, max=0.2))
        async def backs_off(payload, step: Step):
            witness("backs off")
            raise ValueError("again")
        """,
    )
    live.run("backs-off")
    times = [fact["at"] for fact in live.facts("backs off")]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.08, 0.16, 0.16), strict=True)), pauses


def test_retries_given_with_the_enqueue_go_before_those_of_the_workflow(live: Project) -> None:
    live.add(
        "own_retries.py",
        """
        @workflow("own-retries", retries=5, backoff=Backoff(base=0.01))
        async def own(payload):
            raise ValueError
        """,
    )
    assert live.run("own-retries", retries=0)["attempts"] == 1
    assert live.run("own-retries", retries=1)["attempts"] == 2


def test_bail_fail_and_retry_leave_the_handler_at_once(live: Project) -> None:
    live.add(
        "exits.py",
        """
        @workflow("exits", retries=3, backoff=Backoff(base=0.05))
        async def exits(payload, step: Step):
            try:
                if payload == "bail":
                    step.bail("enough")
                if payload == "fail":
                    step.fail("hopeless")
                if payload == "fail with":
                    step.fail(LookupError("not there"))
                witness("exits")
                if seen("exits") < 3:
                    step.retry(after="10ms")
            except Exception:
                return "caught"
            return step.attempt

        @workflow("exits-blocking", retries=3)
        def blocking(payload, step: BlockingStep):
            step.bail("enough")

        @workflow("exits-in-step", retries=3)
        async def in_step(payload, step: Step):
            await step.run("bails", lambda: step.bail("from inside"))

        @workflow("exits-swallowed", retries=3)
        async def swallowed(payload, step: Step):
            try:
                step.fail("hopeless")
            except BaseException:
                return "swallowed"
        """,
    )
    bailed = live.run("exits", "bail")
    assert (bailed["state"], bailed["error"]["reason"], bailed["error"]["message"]) == ("cancelled", "bailed", "enough")
    failed = live.run("exits", "fail")
    assert (failed["state"], failed["attempts"], failed["error"]["message"]) == ("dead", 1, "hopeless")
    error = live.run("exits", "fail with")["error"]
    assert (error["type"], error["message"], error["reason"]) == ("LookupError", "not there", "failed")
    retried = live.run("exits", "retry")
    assert (retried["state"], retried["result"], retried["attempts"]) == ("succeeded", 1, 1)
    assert live.run("exits-blocking")["state"] == "cancelled"
    assert live.run("exits-in-step")["error"]["message"] == "from inside"
    assert (live.run("exits-swallowed")["state"]) == "dead"


@pytest.mark.parametrize("way", ["bail", "fail", "raise", "raise-unreadable", "progress"])
def test_text_that_cannot_be_stored_as_it_is_never_keeps_a_run_from_ending(live: Project, way: str) -> None:
    live.add(
        "text.py",
        """
        class Unreadable(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        @workflow("odd-text", retries=0)
        async def odd(payload, step: Step):
            if payload == "bail":
                step.bail("\\ud800 \\x00 \\x1b[31m")
            if payload == "fail":
                step.fail("\\ud800" * 10_000)
            if payload == "raise":
                raise ValueError("\\ud800" * 100_000)
            if payload == "raise-unreadable":
                raise Unreadable
            step.progress(0.5, "\\ud800\\x00")
        """,
    )
    run = live.run("odd-text", way)
    assert run["state"] == {"bail": "cancelled", "progress": "succeeded"}.get(way, "dead")
    shown = live.command("show", run["id"])
    assert shown.returncode == 0 and "\x1b" not in shown.stdout


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt", "CancelledError", "GeneratorExit", "StopIteration"])
def test_whatever_a_handler_raises_is_a_failed_attempt(live: Project, raised: str) -> None:
    name = "raises-" + raised.partition("(")[0].lower()
    live.add(
        "raises.py",
        f"""
        from asyncio import CancelledError

        @workflow("{name}", retries=1, backoff=Backoff(base=0.01))
        async def raises(payload):
            raise {raised}

        @workflow("{name}-blocking", retries=1, backoff=Backoff(base=0.01))
        def blocking(payload):
            raise {raised}

        def body():
            raise {raised}

        @workflow("{name}-step", retries=1, backoff=Backoff(base=0.01))
        async def in_step(payload, step: Step):
            await asyncio.gather(step.run("body", body))

        @workflow("{name}-blocking-step", retries=1, backoff=Backoff(base=0.01))
        def in_blocking_step(payload, step: BlockingStep):
            step.run("body", body)
        """,
    )
    for workflow in (name, f"{name}-blocking", f"{name}-step", f"{name}-blocking-step"):
        run = live.run(workflow)
        assert (run["state"], run["attempts"], run["crashes"]) == ("dead", 2, 0)


def test_a_body_that_exits_is_a_failed_step_also_side_by_side(live: Project) -> None:
    live.add(
        "exits_in_body.py",
        """
        async def leaves():
            sys.exit(3)

        @workflow("body-exits", retries=0, worker="exiting")
        async def body_exits(payload, step: Step):
            await asyncio.gather(step.run("a", leaves), step.run("b", sys.exit))
        """,
    )
    run = live.run("body-exits")
    assert (run["state"], run["attempts"], run["crashes"]) == ("dead", 1, 0)
    assert {step["state"] for step in run["steps"]} == {"failed"}


def test_a_task_of_a_handler_that_exits_crashes_the_worker_and_charges_no_neighbour(live: Project) -> None:
    live.add(
        "task_exits.py",
        """
        async def leaves():
            while not os.path.exists("exit now"):
                await asyncio.sleep(0.01)
            sys.exit(3)

        @workflow("task-exits", retries=0, worker="task-exits")
        async def task_exits(payload, step: Step):
            await asyncio.create_task(leaves())

        @workflow("task-neighbour", retries=0, worker="task-exits")
        async def neighbour(payload, step: Step):
            witness("task neighbour")
            while seen("task neighbour") < 2:
                await asyncio.sleep(0.01)
            return "done"
        """,
    )
    ending, neighbour = live.enqueue("task-exits"), live.enqueue("task-neighbour")
    live.wait_for_fact("task neighbour")
    (live.root / "exit now").touch()
    spared = live.wait(neighbour)
    assert (spared["state"], spared["attempts"], spared["crashes"]) == ("succeeded", 1, 0)
    crashed = live.wait(ending)
    assert (crashed["state"], crashed["attempts"], crashed["error"]["reason"]) == ("dead", 0, "crashed")


def test_an_attempt_over_its_timeout_is_left_and_charged(live: Project) -> None:
    live.add(
        "timeouts.py",
        """
        @workflow("too-slow", timeout="200ms", retries=1, backoff=Backoff(base=0.05))
        async def too_slow(payload, step: Step):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                witness("too slow is left")
        """,
    )
    run = live.run("too-slow")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 2, "timeout")
    assert len(live.facts("too slow is left")) == 2


def test_waiting_does_not_count_towards_the_timeout(live: Project) -> None:
    live.add(
        "patient.py",
        """
        @workflow("patient", timeout="700ms", retries=0)
        async def patient(payload, step: Step):
            await step.sleep("night", 1.2)
            return "morning"
        """,
    )
    assert live.run("patient")["result"] == "morning"


def test_an_attempt_over_its_timeout_is_not_over_before_its_thread_is(live: Project) -> None:
    live.add(
        "thread_timeout.py",
        """
        def body():
            witness("body begins")
            time.sleep(0.6)
            witness("body ends")

        @workflow("slow-thread", timeout="200ms", retries=1, backoff=Backoff(base=0.01))
        async def slow_thread(payload, step: Step):
            await step.run("body", body)

        @workflow("slow-handler", timeout="200ms", retries=1, backoff=Backoff(base=0.01))
        def slow_handler(payload, step: BlockingStep):
            body()
            step.run("after", lambda: None)
        """,
    )
    for workflow in ("slow-thread", "slow-handler"):
        before = len(live.facts())
        run = live.run(workflow)
        assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 2, "timeout")
        assert [fact["kind"] for fact in live.facts()[before:]] == ["body begins", "body ends"] * 2


def test_a_failed_attempt_is_not_over_before_the_steps_beside_it_are(live: Project) -> None:
    live.add(
        "beside_failure.py",
        """
        def slow():
            witness("slow begins")
            time.sleep(0.4)
            witness("slow ends")

        async def fails():
            raise ValueError("at once")

        @workflow("beside-failure", retries=1, backoff=Backoff(base=0.01))
        async def beside(payload, step: Step):
            await asyncio.gather(step.run("slow", slow), step.run("fails", fails))
        """,
    )
    assert live.run("beside-failure")["error"]["message"] == "at once"
    assert [fact["kind"] for fact in live.facts() if fact["kind"] in ("slow begins", "slow ends")] == [
        "slow begins",
        "slow ends",
    ] * 2


def test_a_handler_that_ignores_its_timeout_is_killed_and_its_neighbour_is_charged_nothing(live: Project) -> None:
    live.add(
        "ignores.py",
        """
        @workflow("ignores", worker="stubborn", timeout="100ms", retries=0)
        def ignores(payload):
            witness("ignores", me=os.getpid())
            while True:
                time.sleep(0.05)

        @workflow("neighbour", worker="stubborn", retries=0)
        async def neighbour(payload, step: Step):
            witness("neighbour", me=os.getpid())
            return await step.run("wait", wait_for_another_process)

        async def wait_for_another_process():
            while os.path.exists(f"killed-{os.getpid()}"):
                await asyncio.sleep(0.02)
            return "done"
        """,
    )
    stubborn = live.enqueue("ignores")
    pid = live.wait_for_fact("ignores")[0]["me"]
    (live.root / f"killed-{pid}").touch()
    neighbour = live.enqueue("neighbour")
    assert live.wait_for_fact("neighbour")[0]["me"] == pid
    run = live.wait(stubborn)
    assert (run["state"], run["attempts"], run["crashes"], run["error"]["reason"]) == ("dead", 1, 0, "timeout")
    spared = live.wait(neighbour)
    assert (spared["state"], spared["result"], spared["attempts"], spared["crashes"]) == ("succeeded", "done", 1, 0)


def test_runs_are_cancelled_while_they_are_pending_waiting_and_running(live: Project) -> None:
    live.add(
        "cancels.py",
        """
        @workflow("cancel-me")
        async def cancel_me(payload, step: Step):
            try:
                if payload == "waits":
                    await step.wait_for("cancel:never")
                if payload == "step":
                    witness("in step")
                    await step.run("long", asyncio.sleep, 60)
                witness("running")
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                witness("cleaned up", payload=payload)

        @workflow("cancel-blocking")
        def blocking(payload, step: BlockingStep):
            witness("blocking running")
            step.wait_for("cancel:never")
        """,
    )
    pending = live.enqueue("cancel-me", delay="1h")
    waiting = live.enqueue("cancel-me", "waits")
    running = live.enqueue("cancel-me", "runs")
    in_step = live.enqueue("cancel-me", "step")
    live.wait_for_fact("running")
    live.wait_for_fact("in step")
    live.wait_for_state(waiting, "waiting")
    with live.client() as client:
        outcomes = client.cancel(pending, waiting, running, in_step)
        assert outcomes == {pending: "cancelled", waiting: "cancelled", running: "cancelling", in_step: "cancelling"}
        for id in outcomes:
            run = live.wait(id)
            assert (run["state"], run["attempts"], run["error"]["reason"]) == ("cancelled", 0, "cancelled")
        assert client.cancel(pending, "0" * 8 + "-0000-7000-8000-" + "0" * 12) == {
            pending: "ended",
            "00000000-0000-7000-8000-000000000000": "unknown",
        }
    assert sorted(fact["payload"] for fact in live.facts("cleaned up")) == ["runs", "step", "waits"]
    blocking = live.enqueue("cancel-blocking")
    live.wait_for_fact("blocking running")
    with live.client() as client:
        client.cancel(blocking)
    assert live.wait(blocking)["state"] == "cancelled"


def test_a_blocking_handler_that_ignores_a_cancel_is_killed_and_charges_no_neighbour(live: Project) -> None:
    live.add(
        "deaf.py",
        """
        @workflow("deaf", worker="deaf")
        def deaf(payload):
            witness("deaf", me=os.getpid())
            while True:
                time.sleep(0.05)

        @workflow("beside-deaf", worker="deaf", retries=0)
        async def beside(payload):
            witness("beside", me=os.getpid())
            while os.getpid() == payload:
                await asyncio.sleep(0.02)
            return "done"
        """,
    )
    run_id = live.enqueue("deaf")
    (fact,) = live.wait_for_fact("deaf")
    neighbour = live.enqueue("beside-deaf", fact["me"])
    assert live.wait_for_fact("beside")[0]["me"] == fact["me"]
    with live.client() as client:
        assert client.cancel(run_id) == {run_id: "cancelling"}
    assert "its cancellation was requested" in live.command("why", run_id).stdout
    run = live.wait(run_id)
    assert (run["state"], run["attempts"], run["crashes"]) == ("cancelled", 0, 0)
    assert len(live.facts("deaf")) == 1
    spared = live.wait(neighbour)
    assert (spared["state"], spared["result"], spared["attempts"], spared["crashes"]) == ("succeeded", "done", 1, 0)


def test_a_dead_run_is_retried_with_its_stored_steps_or_fresh(live: Project) -> None:
    live.add(
        "retried.py",
        """
        @workflow("retried", retries=0)
        async def retried(payload, step: Step):
            await step.run("first", lambda: witness("retried first"))
            await step.run("large", lambda: "x" * 5000)
            if not os.path.exists("may succeed"):
                raise ValueError("not yet")
            return step.attempt
        """,
    )
    dead = live.run("retried")
    with live.client() as client:
        assert client.retry(dead["id"]) == {dead["id"]: "pending"}
        again = live.wait(dead["id"])
        assert (again["state"], again["attempts"], again["error"]["message"]) == ("dead", 1, "not yet")
        assert len(live.facts("retried first")) == 1
        (live.root / "may succeed").touch()
        client.retry(dead["id"], fresh=True)
        run = live.wait(dead["id"])
        assert (run["state"], run["result"], run["error"]) == ("succeeded", 1, None)
        assert len(live.facts("retried first")) == 2
        assert client.retry(dead["id"]) == {dead["id"]: "succeeded"}


def test_a_cancelled_run_is_retried(live: Project) -> None:
    live.add("later.py", "@workflow('later')\nasync def later():\n    return 'ran'\n")
    run_id = live.enqueue("later", delay="1h")
    with live.client() as client:
        assert client.retry(run_id) == {run_id: "live"}
        client.cancel(run_id)
        client.retry(run_id)
    assert live.wait(run_id)["result"] == "ran"


def test_a_retried_run_gives_way_to_a_live_one_with_its_unique_key(live: Project) -> None:
    live.add("keyed.py", "@workflow('keyed')\nasync def keyed():\n    return 1\n")
    first = live.enqueue("keyed", unique_key="k", delay="1h")
    with live.client() as client:
        client.cancel(first)
        second = live.enqueue("keyed", unique_key="k", delay="1h")
        assert second != first
        assert client.retry(first) == {first: "duplicate"}
        client.cancel(second)


def test_an_import_error_is_reported_at_the_enqueue_and_the_runs_start_when_it_is_fixed(live: Project) -> None:
    source = "@workflow('broken', worker='broken')\nasync def broken():\n    return 'mended'\n"
    live.add("broken.py", f"import no_such_module\n\n{source}")
    made = live.command("enqueue", "broken")
    assert made.returncode == 0
    assert "workflows/broken.py" in made.stderr and "no_such_module" in made.stderr
    run_id = made.stdout.split()[0]
    assert live.get(run_id)["state"] == "pending"
    assert "no_such_module" in live.command("why", run_id).stdout
    live.add("broken.py", source)
    run = live.wait(run_id)
    assert (run["result"], run["attempts"]) == ("mended", 1)


def test_a_run_whose_workflow_is_gone_is_kept_until_a_file_defines_it_again(live: Project) -> None:
    source = "@workflow('gone')\nasync def gone():\n    return 'back'\n"
    live.add("gone.py", source)
    run_id = live.enqueue("gone", delay="300ms")
    (live.root / "workflows" / "gone.py").unlink()
    live.call("reload")
    wait_until(lambda: "no workflow file defines gone" in live.command("why", run_id).stdout, "why says so")
    assert live.get(run_id)["state"] == "pending"
    live.add("gone.py", source)
    assert live.wait(run_id)["result"] == "back"


def test_an_error_class_derived_from_ours_is_a_failed_attempt(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        from tako_lite.errors import TakoError

        class Mine(TakoError):
            def __init__(self):
                pass

        @workflow("mine", retries=0)
        async def mine(payload):
            raise Mine
        """,
    )
    project.serve()
    assert (project.run("mine")["state"], project.get(project.enqueue("mine"))["max_attempts"]) == ("dead", 1)
