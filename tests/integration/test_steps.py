"""Handlers and their steps: what is called, what is stored, and what comes back."""

from __future__ import annotations

import pytest

from tests.support.project import Project, wait_until


def test_handlers_take_nothing_a_payload_or_a_payload_and_a_step(live: Project) -> None:
    live.add(
        "parameters.py",
        """
        @workflow("none")
        async def none():
            return "none"

        @workflow("one")
        def one(job):
            return job

        @workflow("two")
        async def two(job, anything):
            return [job, anything.workflow_name, anything.attempt]
        """,
    )
    assert live.run("none", {"ignored": 1})["result"] == "none"
    assert live.run("one", [1])["result"] == [1]
    assert live.run("two", "x")["result"] == ["x", "two", 1]


def test_a_blocking_handler_has_a_step_with_the_same_methods(live: Project) -> None:
    live.add(
        "blocking.py",
        """
        @workflow("child-of-blocking")
        def child(payload):
            return payload + 1

        @workflow("blocking")
        def blocking(payload, step: BlockingStep):
            assert threading.current_thread() is not threading.main_thread()
            facts = {"ran": step.run("add", lambda a, b: a + b, 1, 2)}
            step.sleep("nap", 0.01)
            step.sleep_until("then", time.time() + 0.01)
            step.signal("blocking:ready", [1])
            facts["signal"] = step.wait_for("blocking:ready")
            facts["timed out"] = step.wait_for("blocking:never", timeout=0.01)
            facts["child"] = step.invoke("child", "child-of-blocking", 1)
            facts["other"] = step.enqueue("other", child, 5)
            step.progress(0.5, "half")
            return facts
        """,
    )
    run = live.run("blocking")
    assert run["state"] == "succeeded", run["error"]
    other = run["result"].pop("other")
    assert run["result"] == {"ran": 3, "signal": [1], "timed out": None, "child": 2}
    assert live.wait(other)["result"] == 6
    assert (run["progress"], run["progress_note"]) == (0.5, "half")


def test_the_body_of_a_blocking_step_runs_in_the_thread_of_its_handler(live: Project) -> None:
    live.add(
        "own_thread.py",
        """
        @workflow("own-thread")
        def own_thread(payload, step: BlockingStep):
            return step.run("thread", threading.get_ident) == threading.get_ident()
        """,
    )
    assert live.run("own-thread")["result"] is True


def test_a_plain_function_in_a_step_of_an_async_handler_does_not_stall_its_neighbours(live: Project) -> None:
    live.add(
        "threads.py",
        """
        met = threading.Barrier(2, timeout=10)

        @workflow("meet")
        async def meet(payload, step: Step):
            return await step.run("meet", met.wait)
        """,
    )
    first, second = live.enqueue("meet"), live.enqueue("meet")
    assert sorted([live.wait(first)["result"], live.wait(second)["result"]]) == [0, 1]


def test_as_many_plain_steps_run_at_once_as_a_worker_has_slots(live: Project) -> None:
    live.add(
        "many_threads.py",
        """
        all_here = threading.Barrier(10, timeout=10)

        @workflow("gather-here", retries=0)
        async def gather_here(payload, step: Step):
            await step.run("wait", all_here.wait)
        """,
    )
    with live.client() as client:
        ids = client.enqueue_many("gather-here", list(range(10)))
    assert {live.wait(id)["state"] for id in ids} == {"succeeded"}


def test_payloads_are_built_as_the_first_parameter_says(live: Project) -> None:
    live.add(
        "typed.py",
        """
        from dataclasses import dataclass
        from typing import TypedDict
        import msgspec
        import pydantic

        @dataclass
        class Size:
            width: int
            height: int = 7

        class Mail(TypedDict):
            to: str

        class Model(pydantic.BaseModel):
            count: int

        class Struct(msgspec.Struct):
            count: int

        @workflow("typed-dataclass", retries=3)
        async def of_dataclass(payload: Size):
            return [type(payload).__name__, payload.width, payload.height]

        @workflow("typed-dict", retries=3)
        async def of_dict(payload: Mail):
            return [type(payload).__name__, payload["to"]]

        @workflow("typed-pydantic", retries=3)
        async def of_pydantic(payload: Model):
            return [type(payload).__name__, payload.count]

        @workflow("typed-msgspec", retries=3)
        async def of_msgspec(payload: Struct):
            return [type(payload).__name__, payload.count]
        """,
    )
    assert live.run("typed-dataclass", {"width": 3})["result"] == ["Size", 3, 7]
    assert live.run("typed-dict", {"to": "ann"})["result"] == ["dict", "ann"]
    assert live.run("typed-pydantic", {"count": 2})["result"] == ["Model", 2]
    assert live.run("typed-msgspec", {"count": 2})["result"] == ["Struct", 2]
    for workflow, payload, field in (
        ("typed-dataclass", {"width": "3"}, "width"),
        ("typed-dict", {"to": 1}, "to"),
        ("typed-pydantic", {"count": "many"}, "count"),
        ("typed-msgspec", {"count": "many"}, "count"),
    ):
        run = live.run(workflow, payload)
        assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "bad_payload")
        assert field in run["error"]["message"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("b'bytes'", "not_json"),
        ("float('nan')", "not_json"),
        ("object()", "not_json"),
        ("'\\ud800'", "not_json"),
        ("{(1, 2): 3}", "not_json"),
        ("'x' * (2 << 20)", "too_large"),
        ("[[]] if False else __import__('functools').reduce(lambda a, _: [a], range(100), 1)", "not_json"),
    ],
)
def test_a_result_that_cannot_be_stored_ends_the_run_dead_with_the_reason(live: Project, expression: str, reason: str) -> None:
    name = f"result-{abs(hash(expression))}"
    live.add("results.py", f"@workflow({name!r}, retries=3)\nasync def result():\n    return {expression}\n")
    run = live.run(name)
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, reason)


def test_bytes_from_a_step_end_the_run_with_the_hint_to_return_a_path(live: Project) -> None:
    live.add(
        "bytes.py",
        """
        @workflow("bytes", retries=3)
        async def of_bytes(payload, step: Step):
            await step.run("read", lambda: {"data": b"x"}, retries=5)
        """,
    )
    run = live.run("bytes")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "not_json")
    assert "'read'.data" in run["error"]["message"] and "path" in run["error"]["message"]


def test_a_tuple_comes_back_as_a_list_on_the_first_attempt_too(live: Project) -> None:
    live.add(
        "tuples.py",
        """
        @workflow("tuples", backoff=Backoff(base=0.05))
        async def tuples(payload, step: Step):
            value = await step.run("pair", lambda: (1, {2: (3,)}))
            witness("tuple", value=repr(value))
            assert step.attempt == 2
            return value
        """,
    )
    assert live.run("tuples")["result"] == [1, {"2": [3]}]
    assert [fact["value"] for fact in live.facts("tuple")] == ["[1, {'2': [3]}]"] * 2


def test_the_body_of_a_stored_step_never_runs_again(live: Project) -> None:
    live.add(
        "memo.py",
        """
        @workflow("memo", backoff=Backoff(base=0.05))
        async def memo(payload, step: Step):
            first = await step.run("first", lambda: witness("memo", step="first") or time.time())
            none = await step.run("none", lambda: witness("memo", step="none"))
            if step.attempt < 3:
                raise RuntimeError("again")
            return [first, none]
        """,
    )
    run = live.run("memo")
    assert (run["state"], run["attempts"]) == ("succeeded", 3)
    assert [fact["step"] for fact in live.facts("memo")] == ["first", "none"]
    assert run["result"] == [run["steps"][0]["result"], None]


def test_stored_steps_survive_the_crash_of_their_worker(live: Project) -> None:
    live.add(
        "crash.py",
        """
        @workflow("crash-after-step", worker="crashing")
        async def crash_after_step(payload, step: Step):
            await step.run("first", lambda: witness("before the crash"))
            witness("attempt")
            if seen("attempt") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return "survived"
        """,
    )
    run = live.run("crash-after-step")
    assert (run["state"], run["result"], run["attempts"], run["crashes"]) == ("succeeded", "survived", 1, 1)
    assert len(live.facts("before the crash")) == 1


def test_the_same_step_name_twice_is_an_error_that_says_what_to_do(live: Project) -> None:
    live.add(
        "twice.py",
        """
        @workflow("twice", retries=3)
        async def twice(payload, step: Step):
            for _ in range(2):
                await step.run("page", lambda: 1)
        """,
    )
    run = live.run("twice")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "step_error")
    assert "'page'" in run["error"]["message"] and "name" in run["error"]["message"]


def test_a_step_that_is_returned_without_await_is_refused_with_what_to_write(live: Project) -> None:
    live.add(
        "returned.py",
        """
        @workflow("returned")
        async def returned(payload, step: Step):
            return step.run("later", print)
        """,
    )
    run = live.run("returned")
    assert (run["state"], run["attempts"], run["error"]["reason"]) == ("dead", 1, "not_json")
    assert run["error"]["message"] == (
        "the result is of type coroutine, which JSON cannot represent (write `await` before the call of Step.run that made it)"
    )
    wait_until(lambda: "coroutine 'Step.run' was never awaited" in live.command("logs", run["id"]).stdout, "it is in the log")


@pytest.mark.parametrize("name", ["''", "'x' * 300", "None", "'nul\\x00'", "'\\ud800'"])
def test_what_cannot_be_the_name_of_a_step_is_refused(live: Project, name: str) -> None:
    workflow = f"bad-name-{abs(hash(name))}"
    live.add(
        "names.py", f"@workflow({workflow!r})\nasync def bad(payload, step: Step):\n    await step.run({name}, lambda: 1)\n"
    )
    run = live.run(workflow)
    assert (run["state"], run["error"]["type"]) == ("dead", "StepError")


def test_a_failing_step_is_tried_again_as_often_as_its_retries_say(live: Project) -> None:
    live.add(
        "step_retries.py",
        """
        tries = []

        def flaky():
            tries.append(1)
            if len(tries) < 3:
                raise ValueError(f"try {len(tries)}")
            return len(tries)

        @workflow("step-retries", retries=0)
        async def step_retries(payload, step: Step):
            return await step.run("flaky", flaky, retries=2, backoff=Backoff(base=0.02))
        """,
    )
    run = live.run("step-retries")
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", 3, 1)
    assert run["steps"][0]["attempts"] == 3


def test_a_step_that_fails_for_good_fails_the_attempt_with_its_own_error(live: Project) -> None:
    live.add(
        "step_fails.py",
        """
        def fails():
            raise LookupError("nowhere")

        @workflow("step-fails", retries=1, backoff=Backoff(base=0.02))
        async def step_fails(payload, step: Step):
            await step.run("fails", fails, retries=1, backoff=Backoff(base=0.02))
        """,
    )
    run = live.run("step-fails")
    assert (run["state"], run["attempts"]) == ("dead", 2)
    assert (run["error"]["type"], run["error"]["message"]) == ("LookupError", "nowhere")
    assert "def fails" in run["error"]["traceback"] or "in fails" in run["error"]["traceback"]
    step = run["steps"][0]
    assert (step["name"], step["state"], step["attempts"]) == ("fails", "failed", 4)
    assert step["error"]["message"] == "nowhere"


def test_a_long_pause_between_tries_of_a_step_parks_the_run_and_the_tries_are_stored(live: Project) -> None:
    live.add(
        "long_pause.py",
        """
        @workflow("long-pause", retries=0)
        async def long_pause(payload, step: Step):
            def body():
                witness("long pause")
                if seen("long pause") < 2:
                    raise ValueError("not yet")
                return "now"
            return await step.run("flaky", body, retries=1, backoff=Backoff(base=1.3))
        """,
    )
    run_id = live.enqueue("long-pause")
    waiting = live.wait_for_state(run_id, "waiting")
    assert waiting["steps"][0]["attempts"] == 1
    assert waiting["waits"][0]["kind"] == "retry"
    run = live.wait(run_id)
    assert (run["state"], run["result"], run["attempts"], run["steps"][0]["attempts"]) == ("succeeded", "now", 1, 2)


def test_an_async_step_that_takes_too_long_is_cancelled_and_is_a_failure_of_the_step(live: Project) -> None:
    live.add(
        "step_timeout.py",
        """
        async def slow():
            try:
                await asyncio.sleep(60)
            finally:
                witness("slow is left")

        @workflow("step-timeout")
        async def step_timeout(payload, step: Step):
            try:
                await step.run("slow", slow, timeout="50ms", retries=1, backoff=Backoff(base=0.01))
            except TimeoutError as error:
                return str(error)
        """,
    )
    assert live.run("step-timeout")["result"] == "step 'slow' took longer than 0.05 s"
    assert len(live.facts("slow is left")) == 2


def test_a_plain_step_that_takes_too_long_is_a_failure_once_its_function_is_back(live: Project) -> None:
    live.add(
        "plain_timeout.py",
        """
        def slow():
            time.sleep(0.2)
            witness("slow is back")

        @workflow("plain-timeout")
        async def plain_timeout(payload, step: Step):
            try:
                await step.run("slow", slow, timeout=0.05)
            except TimeoutError:
                witness("timed out")

        @workflow("blocking-timeout")
        def blocking_timeout(payload, step: BlockingStep):
            try:
                step.run("slow", slow, timeout=0.05)
            except TimeoutError:
                witness("timed out")
        """,
    )
    for count, workflow in enumerate(("plain-timeout", "blocking-timeout"), 1):
        assert live.run(workflow)["state"] == "succeeded"
        kinds = [fact["kind"] for fact in live.facts() if fact["kind"] in ("slow is back", "timed out")]
        assert kinds == ["slow is back", "timed out"] * count


@pytest.mark.parametrize("how", ["gather", "task group"])
def test_steps_run_side_by_side(live: Project, how: str) -> None:
    together = {
        "gather": "return await asyncio.gather(step.run('a', meet), step.run('b', meet))",
        "task group": """
            async with asyncio.TaskGroup() as tasks:
                a, b = tasks.create_task(step.run('a', meet)), tasks.create_task(step.run('b', meet))
            return [a.result(), b.result()]""",
    }[how]
    name = how.replace(" ", "-")
    live.add(
        f"side_{name.replace('-', '_')}.py",
        f"""
        @workflow("side-{name}")
        async def side(payload, step: Step):
            barrier = threading.Barrier(2, timeout=10)
            def meet():
                barrier.wait()
                return "met"
            {together}
        """,
    )
    run = live.run(f"side-{name}")
    assert run["result"] == ["met", "met"], run["error"]
    assert {step["name"] for step in run["steps"]} == {"a", "b"}


def test_many_steps_of_one_run_side_by_side_are_all_stored(live: Project) -> None:
    live.add(
        "many.py",
        """
        async def double(number):
            return 2 * number

        @workflow("many")
        async def many(payload, step: Step):
            return sum(await asyncio.gather(*(step.run(f"n-{n}", double, n) for n in range(500))))
        """,
    )
    run = live.run("many")
    assert run["result"] == 2 * sum(range(500))
    assert len(run["steps"]) == 500


def test_positional_arguments_go_to_the_function_and_its_values_may_be_large(live: Project) -> None:
    live.add(
        "large.py",
        """
        @workflow("large", backoff=Backoff(base=0.02))
        async def large(payload, step: Step):
            text = await step.run("text", lambda letter, count: letter * count, "x", 900_000)
            await step.run("other", lambda: "y" * 5000)
            if step.attempt == 1:
                raise RuntimeError("once more, from what is stored")
            return [len(text), text[-1]]
        """,
    )
    run = live.run("large", "p" * 900_000)
    assert (run["result"], len(run["payload"])) == ([900_000, "x"], 900_000)


def test_log_and_print_lines_are_kept_with_their_run(live: Project) -> None:
    live.add(
        "logs.py",
        """
        @workflow("talks")
        async def talks(payload, step: Step):
            print("printed in the handler")
            await step.run("print", print, "printed in a step")
            step.log("logged")
            step.log.warning("warned %s", 1)
        """,
    )
    run_id = live.enqueue("talks")
    live.wait(run_id)
    text = live.command("logs", run_id).stdout
    for line in ("printed in the handler", "printed in a step", "INFO logged", "WARNING warned 1"):
        assert line in text


def test_values_that_a_step_returns_after_a_handler_swallowed_its_error_are_kept(live: Project) -> None:
    live.add(
        "handled.py",
        """
        async def fails():
            raise ValueError("no")

        @workflow("handled")
        async def handled(payload, step: Step):
            try:
                await step.run("first", fails)
            except ValueError:
                return await step.run("second", lambda: "instead")
        """,
    )
    run = live.run("handled")
    assert (run["state"], run["result"]) == ("succeeded", "instead")
    assert [(step["name"], step["state"]) for step in run["steps"]] == [("first", "failed"), ("second", "succeeded")]


def test_handlers_enqueue_through_their_handle_whatever_kind_they_are(live: Project) -> None:
    live.add(
        "handles.py",
        """
        @workflow("leaf")
        async def leaf(payload: int):
            return payload * 10

        @workflow("asynchronous")
        async def asynchronous(payload):
            made = await leaf.aenqueue(1)
            in_thread = await asyncio.to_thread(leaf.enqueue, 2)
            return [made.id, in_thread.id]

        @workflow("blocking-enqueue")
        def blocking(payload):
            return [leaf.enqueue(3, delay="10ms").id]

        @workflow("stalls", retries=0)
        async def stalls(payload):
            leaf.enqueue(4)
        """,
    )
    made = [*live.run("asynchronous")["result"], *live.run("blocking-enqueue")["result"]]
    assert [live.wait(id)["result"] for id in made] == [10, 20, 30]
    error = live.run("stalls")["error"]
    assert "aenqueue" in error["message"]


def test_a_workflow_that_catches_an_exception_group_of_its_steps_can_continue(live: Project) -> None:
    live.add(
        "groups.py",
        """
        async def fails(text):
            raise ValueError(text)

        @workflow("groups")
        async def groups(payload, step: Step):
            caught = []
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(step.run("a", fails, "a"))
                    tasks.create_task(step.run("b", fails, "b"))
            except* ValueError as group:
                caught += [str(error) for error in group.exceptions]
            return caught
        """,
    )
    assert live.run("groups")["result"] == ["a", "b"]


def test_a_running_run_names_the_step_that_it_executes_even_while_the_step_blocks_its_worker(project: Project) -> None:
    source = """\
        import time
        from pathlib import Path

        @workflow("slow")
        async def slow(payload, step: Step):
            await step.run("first", lambda: 1)
            async def block():
                Path("began").touch()
                while not Path("go").exists():
                    time.sleep(0.01)
            await step.run("second", block)
        """
    project.workflow("a.py", source)
    project.serve()
    run = project.enqueue("slow")
    wait_until((project.root / "began").exists, "the step began")
    with project.client() as client:
        (step,) = client.get(run)["in_flight"]
        assert (step["name"], step["started_at"] is not None) == ("second", True)
        (worker,) = client.status()["groups"][0]["workers"]
        assert (worker["running"], worker["slots"], worker["runs_done"], worker["solo"]) == ([run], 10, 0, False)
        assert worker["started_at"] <= step["started_at"]
        (project.root / "go").touch()
        assert project.wait(run)["state"] == "succeeded"
        assert client.get(run)["in_flight"] == []
