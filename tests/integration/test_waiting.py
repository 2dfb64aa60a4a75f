"""Sleeps, signals and children: how runs wait, and what waiting does to their handlers."""

from __future__ import annotations

import signal

import pytest

from tako_lite.clock import SystemClock, iso, milliseconds
from tests.support.project import Project, wait_until


def test_a_short_sleep_keeps_its_slot_and_a_long_one_parks(live: Project) -> None:
    live.add(
        "sleeps.py",
        """
        @workflow("short-sleep")
        async def short(payload, step: Step):
            witness("short sleep")
            await step.sleep("nap", "100ms")

        @workflow("long-sleep")
        async def long(payload, step: Step):
            witness("long sleep")
            await step.sleep("night", 1.2)
            return step.attempt
        """,
    )
    short, long = live.enqueue("short-sleep"), live.enqueue("long-sleep")
    waiting = live.wait_for_state(long, "waiting")
    assert [(wait["name"], wait["kind"]) for wait in waiting["waits"]] == [("night", "sleep")]
    run = live.wait(long)
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", 1, 1)
    assert live.wait(short)["state"] == "succeeded"
    assert (len(live.facts("short sleep")), len(live.facts("long sleep"))) == (1, 2)


def test_a_long_sleep_continues_across_a_restart_of_the_daemon(project: Project) -> None:
    project.workflow(
        "sleeps.py",
        """
        @workflow("sleeper")
        async def sleeper(payload, step: Step):
            started = await step.run("start", time.time)
            await step.sleep("night", 1.5)
            return time.time() - started
        """,
    )
    project.serve()
    run_id = project.enqueue("sleeper")
    due = project.wait_for_state(run_id, "waiting")["waits"][0]["wake_at"]
    project.stop(signal.SIGKILL)
    asleep = project.get(run_id)
    assert (asleep["state"], asleep["waits"][0]["wake_at"]) == ("waiting", due)
    project.serve()
    run = project.wait(run_id)
    assert (run["state"], run["attempts"]) == ("succeeded", 1)
    assert run["result"] >= 1.5


def test_a_sleep_that_ended_while_no_daemon_ran_is_over_at_its_start(project: Project) -> None:
    project.workflow(
        "sleeps.py",
        "@workflow('sleeper')\nasync def sleeper(payload, step: Step):\n    await step.sleep('night', 1.1)\n    return 'up'\n",
    )
    project.serve()
    run_id = project.enqueue("sleeper")
    project.wait_for_state(run_id, "waiting")
    project.stop()
    wait_until(lambda: project.get(run_id)["waits"][0]["wake_at"] < iso(SystemClock().now()), "the time has come")
    project.serve()
    assert project.wait(run_id)["result"] == "up"


def test_sleep_until_takes_times_of_every_kind(live: Project) -> None:
    live.add(
        "until.py",
        """
        from datetime import UTC, datetime, timedelta

        @workflow("until")
        async def until(payload, step: Step):
            now = datetime.now(UTC)
            await step.sleep_until("past", "2001-01-01T00:00:00Z")
            await step.sleep_until("seconds", time.time() + 0.02)
            await step.sleep_until("moment", now + timedelta(milliseconds=20))
            then = await step.run("then", lambda: time.time() + 1.2)
            await step.sleep_until("later", then)
            return time.time() >= then

        @workflow("until-naive")
        async def naive(payload, step: Step):
            await step.sleep_until("naive", datetime(2040, 1, 1))
        """,
    )
    run = live.run("until")
    assert (run["state"], run["result"]) == ("succeeded", True), run["error"]
    refused = live.run("until-naive")
    assert (refused["state"], refused["attempts"], refused["error"]["reason"]) == ("dead", 1, "bad_input")


def test_a_signal_wakes_present_and_later_waits(live: Project) -> None:
    live.add(
        "signals.py",
        """
        @workflow("waits")
        async def waits(payload, step: Step):
            return [await step.wait_for(payload), await step.wait_for(payload)]
        """,
    )
    early = live.enqueue("waits", "order:1")
    live.wait_for_state(early, "waiting")
    with live.client() as client:
        assert client.signal("order:1", {"by": "ann"}) == 1
        assert client.signal("order:1", {"by": "bob"}) == 0
    late = live.enqueue("waits", "order:1")
    assert live.wait(early)["result"] == [{"by": "ann"}] * 2
    assert live.wait(late)["result"] == [{"by": "ann"}] * 2


def test_a_signal_comes_from_a_step_a_client_and_the_command_line(live: Project) -> None:
    live.add(
        "senders.py",
        """
        @workflow("gets")
        async def gets(payload, step: Step):
            return await asyncio.gather(*(step.wait_for(f"{payload}:{sender}") for sender in ("step", "client", "cli")))

        @workflow("sends")
        async def sends(payload, step: Step):
            await step.signal(payload, ["from", "step"])
        """,
    )
    run_id = live.enqueue("gets", "senders")
    waiting = wait_until(lambda: len((run := live.get(run_id))["waits"]) == 3 and run["state"] == "waiting" and run, "it waits")
    assert {wait["key"] for wait in waiting["waits"]} == {"senders:step", "senders:client", "senders:cli"}
    live.run("sends", "senders:step")
    with live.client() as client:
        client.signal("senders:client", "from client")
    assert live.cli("signal", "senders:cli", '{"from": "cli"}').returncode == 0
    assert live.wait(run_id)["result"] == [["from", "step"], "from client", {"from": "cli"}]


def test_a_wait_that_times_out_ends_only_itself_and_the_next_one_gets_the_signal(live: Project) -> None:
    live.add(
        "timeouts.py",
        """
        @workflow("times-out")
        async def times_out(payload, step: Step):
            first = await step.wait_for("times-out:never", timeout=payload)
            await step.signal("times-out:never", "too late")
            await step.sleep("on", 1.01)
            return [first, await step.wait_for("times-out:never")]
        """,
    )
    run = live.run("times-out", 0.01)
    assert (run["result"], run["attempts"]) == ([None, "too late"], 1)
    assert [step["name"] for step in run["steps"] if step["name"].startswith("wait_for")] == [
        "wait_for:times-out:never",
        "wait_for:times-out:never#2",
    ]


def test_a_second_wait_for_one_event_waits_again_and_parks_again(live: Project) -> None:
    live.add(
        "reminders.py",
        """
        @workflow("approval")
        async def approval(number, step: Step):
            for attempt in range(3):
                answer = await step.wait_for(f"approve:{number}", timeout=1.2)
                if answer is not None:
                    return [attempt, answer]
                await step.run(f"remind-{attempt}", lambda: witness("reminded", number=number))
            step.bail("nobody approved it")

        @workflow("approval-blocking")
        def approval_blocking(number, step: BlockingStep):
            return [step.wait_for(f"approve:{number}", timeout=0.2), step.wait_for(f"approve:{number}", timeout=1.2)]
        """,
    )
    silent = live.enqueue("approval", 1)
    blocking = live.enqueue("approval-blocking", 2)
    approved = live.enqueue("approval", 3)
    wait_until(lambda: [f for f in live.facts("reminded") if f["number"] == 3], "it is reminded")
    waiting = wait_until(lambda: (run := live.get(approved))["state"] == "waiting" and run, "it is parked again")
    assert [wait["name"] for wait in waiting["waits"]] == ["wait_for:approve:3#2"]
    with live.client() as client:
        assert client.signal("approve:3", "ann") == 1
    assert live.wait(approved)["result"] == [1, "ann"]
    run = live.wait(silent)
    assert (run["state"], run["error"]["message"]) == ("cancelled", "nobody approved it")
    created = milliseconds(run["created_at"])
    assert milliseconds(run["finished_at"]) - created > 3 * 1200
    assert len([fact for fact in live.facts("reminded") if fact["number"] == 1]) == 3
    assert live.wait(blocking)["result"] == [None, None]


def test_waits_side_by_side_for_one_event_have_a_time_out_each(live: Project) -> None:
    live.add(
        "races.py",
        """
        @workflow("two-timeouts")
        async def two(payload, step: Step):
            short = asyncio.create_task(step.wait_for("two:never", timeout=0.2))
            long = asyncio.create_task(step.wait_for("two:never", timeout="1h"))
            await short
            await step.signal("two:never", 5)
            return [await short, await long]
        """,
    )
    assert live.run("two-timeouts")["result"] == [None, 5]


def test_a_name_of_its_own_distinguishes_one_wait_from_another(live: Project) -> None:
    live.add(
        "named.py",
        """
        @workflow("named")
        async def named(payload, step: Step):
            first = await step.wait_for("named:x", timeout=0.01, name="first reply")
            second = await step.wait_for("named:x", 0.01, "second reply")
            third = await step.wait_for("named:x", timeout=0.01)
            return [first, second, third]

        @workflow("named-twice")
        async def twice(payload, step: Step):
            await step.wait_for("named:x", timeout=0.01, name="reply")
            await step.wait_for("named:x", timeout=0.01, name="reply")

        @workflow("named-alike")
        async def alike(payload, step: Step):
            await step.wait_for("alike#2", timeout=0.01)
            await step.wait_for("alike", timeout=0.01)
            await step.wait_for("alike", timeout=0.01)
        """,
    )
    steps = [step["name"] for step in live.run("named")["steps"]]
    assert steps == ["first reply", "second reply", "wait_for:named:x"]
    for workflow in ("named-twice", "named-alike"):
        run = live.run(workflow)
        assert (run["state"], run["error"]["type"]) == ("dead", "StepError"), workflow
        assert "ran before in this attempt" in run["error"]["message"]


def test_a_loop_of_waits_and_signals_that_are_stored_gives_its_neighbours_their_turn(live: Project) -> None:
    live.add(
        "inbox.py",
        """
        @workflow("inbox")
        async def inbox(payload, step: Step):
            turns = 0
            async def neighbour():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)
            task = asyncio.create_task(neighbour())
            got = [await step.wait_for("inbox:1") for _ in range(50)]
            for _ in range(50):
                await step.signal("inbox:sent")
            if payload["file"] not in os.listdir():
                open(payload["file"], "w").close()
                step.retry()
            task.cancel()
            return [set(got) == {"mail"}, turns >= 100]
        """,
    )
    with live.client() as client:
        client.signal("inbox:1", "mail")
    assert live.run("inbox", {"file": "inbox-was-here"})["result"] == [True, True]


def test_tasks_that_wait_for_the_same_signal_all_get_it(live: Project) -> None:
    live.add(
        "same_signal.py",
        """
        @workflow("same-signal")
        async def same(payload, step: Step):
            waits = [asyncio.create_task(step.wait_for(f"same:{payload}")) for _ in range(3)]
            if payload == "inline":
                await step.signal("same:inline", 7)
            return await asyncio.gather(*waits)
        """,
    )
    assert live.run("same-signal", "inline")["result"] == [7, 7, 7]
    parked = live.enqueue("same-signal", "parked")
    live.wait_for_state(parked, "waiting")
    with live.client() as client:
        client.signal("same:parked", 8)
    assert live.wait(parked)["result"] == [8, 8, 8]


def test_a_run_that_waits_frees_its_slot_for_the_next_one(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow(
        "one_slot.py",
        """
        @workflow("parent")
        async def parent(payload, step: Step):
            await step.wait_for("go")
            return await step.invoke("child", "child", 20)

        @workflow("blocking-parent")
        def blocking(payload, step: BlockingStep):
            step.wait_for("go")
            return step.invoke("child", "child", 30)

        @workflow("child")
        async def child(payload):
            return payload + 1
        """,
    )
    project.serve()
    waiting = [project.enqueue("parent"), project.enqueue("blocking-parent")]
    for run_id in waiting:
        project.wait_for_state(run_id, "waiting")
    assert project.run("child", 0)["result"] == 1
    with project.client() as client:
        client.signal("go")
    assert [project.wait(run_id)["result"] for run_id in waiting] == [21, 31]
    assert project.group("default")["max_workers"] == 1


def test_parking_unwinds_the_handler_and_resuming_starts_it_from_the_top(live: Project) -> None:
    live.add(
        "unwinds.py",
        """
        async def handler(payload, step):
            witness("unwinds", at_="top")
            try:
                await step.wait_for(f"unwinds:{payload}")
            except Exception:
                witness("unwinds", at_="except")
            finally:
                await asyncio.sleep(0.1)
                witness("unwinds", at_="finally")
            return "done"

        @workflow("unwinds")
        async def unwinds(payload, step: Step):
            return await handler(payload, step)
        """,
    )
    run_id = live.enqueue("unwinds", 1)
    live.wait_for_state(run_id, "waiting")
    assert [fact["at_"] for fact in live.facts("unwinds")] == ["top", "finally"]
    with live.client() as client:
        client.signal("unwinds:1")
    assert live.wait(run_id)["result"] == "done"
    assert [fact["at_"] for fact in live.facts("unwinds")] == ["top", "finally"] * 2


@pytest.mark.parametrize(
    "body",
    [
        """
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(step.wait_for(event))
                tasks.create_task(step.wait_for(event + ":2"))
        """,
        """
            try:
                await step.wait_for(event)
            except BaseException:
                pass
            return "swallowed"
        """,
        """
            try:
                await step.wait_for(event)
            except BaseException:
                raise RuntimeError("something else")
        """,
        """
            await asyncio.gather(step.wait_for(event), step.wait_for(event + ":2"), return_exceptions=True)
            await step.run("never", lambda: witness("went on"))
        """,
        """
            waiting = asyncio.create_task(step.wait_for(event))
            await asyncio.sleep(60)
        """,
        """
            await asyncio.gather(step.wait_for(event), asyncio.sleep(60))
        """,
        """
            async def nested():
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(step.wait_for(event))
                    tasks.create_task(asyncio.sleep(60))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(nested())
        """,
        """
            waiting = asyncio.create_task(step.wait_for(event))
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    return "swallowed"
        """,
    ],
    ids=["task-group", "swallowed", "replaced", "gathered", "forgotten", "beside-work", "nested", "cancel-swallowed"],
)
def test_a_run_parks_however_its_handler_takes_it(live: Project, body: str, request: pytest.FixtureRequest) -> None:
    name = "parks-" + request.node.callspec.id
    source = f"""
        @workflow("{name}")
        async def parks(payload, step: Step):
            event = "{name}"
            {body.strip()}
        """
    live.add("parks.py", source)
    run_id = live.enqueue(name)
    run = live.wait_for_state(run_id, "waiting")
    assert (run["attempts"], run["error"]) == (0, None)
    assert name in {wait["key"] for wait in run["waits"]}
    assert not live.facts("went on")
    assert "never retrieved" not in live.command("logs").stdout
    with live.client() as client:
        client.cancel(run_id)


def test_work_outside_of_steps_is_cancelled_by_parking_and_done_again(live: Project) -> None:
    live.add(
        "outside.py",
        """
        @workflow("outside")
        async def outside(payload, step: Step):
            async def work():
                witness("outside begins")
                await asyncio.sleep(0.3)
                witness("outside ends")

            waiting = asyncio.create_task(step.wait_for("outside"))
            await work()
            return await waiting
        """,
    )
    run_id = live.enqueue("outside")
    live.wait_for_state(run_id, "waiting")
    assert (len(live.facts("outside begins")), len(live.facts("outside ends"))) == (1, 0)
    with live.client() as client:
        client.signal("outside", 1)
    assert live.wait(run_id)["result"] == 1
    assert (len(live.facts("outside begins")), len(live.facts("outside ends"))) == (2, 1)


def test_a_step_beside_a_wait_is_finished_and_stored_before_the_run_parks(live: Project) -> None:
    live.add(
        "beside.py",
        """
        def slow():
            witness("slow beside")
            time.sleep(0.3)
            return "kept"

        @workflow("beside")
        async def beside(payload, step: Step):
            return await asyncio.gather(step.wait_for("beside"), step.run("slow", slow))
        """,
    )
    run_id = live.enqueue("beside")
    run = live.wait_for_state(run_id, "waiting")
    assert [(step["name"], step["result"]) for step in run["steps"]] == [("slow", "kept")]
    with live.client() as client:
        client.signal("beside", "sent")
    assert live.wait(run_id)["result"] == ["sent", "kept"]
    assert len(live.facts("slow beside")) == 1


def test_parallel_waits_are_kept_until_all_are_over(live: Project) -> None:
    live.add(
        "parallel.py",
        """
        @workflow("parallel-waits")
        async def parallel(payload, step: Step):
            await asyncio.gather(step.sleep("nap", 1.1), step.wait_for("parallel:a"), step.wait_for("parallel:b"))
            return "all"
        """,
    )
    run_id = live.enqueue("parallel-waits")
    live.wait_for_state(run_id, "waiting")
    with live.client() as client:
        client.signal("parallel:a")
    wait_until(lambda: len(live.get(run_id)["steps"]) == 2 and live.get(run_id)["state"] == "waiting", "only b is missing")
    assert [wait["key"] for wait in live.get(run_id)["waits"]] == ["parallel:b"]
    with live.client() as client:
        client.signal("parallel:b")
    run = live.wait(run_id)
    assert (run["result"], run["attempts"]) == ("all", 1)


def test_a_child_runs_in_its_own_group_and_its_result_comes_back(live: Project) -> None:
    live.add(
        "family.py",
        """
        @workflow("mother")
        async def mother(payload, step: Step):
            first = await step.invoke("by name", "child-elsewhere", {"n": 1})
            second = await step.invoke("by handle", child, {"n": 2}, priority=5, retries=0)
            return {"own": os.getpid(), "children": [first, second]}

        @workflow("child-elsewhere", worker="elsewhere")
        async def child(payload):
            return [payload["n"], os.getpid()]
        """,
    )
    run = live.run("mother")
    assert run["state"] == "succeeded", run["error"]
    (first, pid), (second, _) = run["result"]["children"]
    assert (first, second) == (1, 2)
    assert pid != run["result"]["own"]
    with live.client() as client:
        runs = client.call("runs", workflow="child-elsewhere")["runs"]
    assert {(child["group"], child["parent"]) for child in runs} == {("elsewhere", run["id"])}
    assert {child["priority"] for child in runs} == {0, 5}


def test_the_failure_of_a_child_is_raised_in_the_parent_with_its_id_and_state(live: Project) -> None:
    live.add(
        "bad_child.py",
        """
        from tako_lite import ChildFailed

        @workflow("asks-bad-child", retries=0)
        async def asks(payload, step: Step):
            try:
                await step.invoke("child", "bad-child", payload)
            except ChildFailed as error:
                return [error.state, error.child_id, str(error)]

        @workflow("bad-child", retries=0)
        async def bad(payload, step: Step):
            if payload == "bails":
                step.bail("not today")
            raise ValueError("broken")
        """,
    )
    for payload, state, said in (("dies", "dead", "broken"), ("bails", "cancelled", "not today")):
        got_state, child_id, text = live.run("asks-bad-child", payload)["result"]
        assert got_state == state == live.get(child_id)["state"]
        assert said in text


def test_a_child_that_failed_is_invoked_again_on_the_next_attempt_of_its_parent(live: Project) -> None:
    live.add(
        "again.py",
        """
        @workflow("again-parent", retries=1, backoff=Backoff(base=0.05))
        async def parent(payload, step: Step):
            good = await step.invoke("good", "again-child", "good")
            return [good, await step.invoke("bad", "again-child", step.attempt)]

        @workflow("again-child", retries=0)
        async def child(payload):
            witness("again child", payload=payload)
            if payload == 1:
                raise ValueError("first")
            return payload
        """,
    )
    run = live.run("again-parent")
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", ["good", 2], 2)
    assert [fact["payload"] for fact in live.facts("again child")] == ["good", 1, 2]


def test_an_unknown_workflow_to_invoke_is_an_error_that_names_a_similar_one(live: Project) -> None:
    live.add(
        "unknown.py",
        """
        @workflow("known-child")
        async def known():
            return 1

        @workflow("invokes-unknown", retries=0)
        async def invokes(payload, step: Step):
            await step.invoke("child", "known-chil")
        """,
    )
    run = live.run("invokes-unknown")
    assert (run["state"], run["error"]["type"]) == ("dead", "NotFound")
    assert run["error"]["message"] == 'no workflow is named "known-chil" (did you mean `known-child`?)'


def test_children_side_by_side_in_one_group_with_one_slot(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 1\n")
    project.workflow(
        "fan.py",
        """
        @workflow("fan")
        async def fan(payload, step: Step):
            return sum(await asyncio.gather(*(step.invoke(f"child-{n}", "leaf", n) for n in range(20))))

        @workflow("leaf")
        async def leaf(payload):
            return payload
        """,
    )
    project.serve()
    run = project.run("fan")
    assert (run["result"], run["attempts"]) == (190, 1)


def test_a_run_is_enqueued_once_by_a_step_although_its_parent_is_killed_after_it(live: Project) -> None:
    live.add(
        "once.py",
        """
        @workflow("enqueues-once", worker="dies")
        async def enqueues(payload, step: Step):
            child = await step.enqueue("child", "once-child", payload, delay="10ms", unique_key=None)
            witness("enqueued")
            if seen("enqueued") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return child

        @workflow("once-child")
        async def child(payload):
            witness("once child")
        """,
    )
    run = live.run("enqueues-once")
    assert (run["state"], run["attempts"], run["crashes"]) == ("succeeded", 1, 1)
    assert live.wait(run["result"])["parent"] == run["id"]
    with live.client() as client:
        assert [made["id"] for made in client.call("runs", workflow="once-child")["runs"]] == [run["result"]]


def test_the_options_of_a_child_are_those_of_enqueue(live: Project) -> None:
    live.add(
        "options.py",
        """
        from datetime import UTC, datetime, timedelta

        @workflow("gives-options", retries=3)
        async def gives(payload, step: Step):
            soon = datetime.now(UTC) + timedelta(milliseconds=10)
            made = [
                await step.enqueue("text", "optioned", delay="10ms", priority=3, retries=7),
                await step.enqueue("delta", "optioned", delay=timedelta(milliseconds=10)),
                await step.enqueue("moment", "optioned", at=soon, worker="options-group"),
                await step.enqueue("iso", "optioned", at=soon.isoformat(), id="00000000-0000-7000-8000-00000000000a"),
            ]
            await step.invoke("child", "optioned", delay="10ms")
            return made

        @workflow("gives-bad-option", retries=3)
        async def bad(payload, step: Step):
            await step.enqueue("child", "optioned", unique_key="\\ud800")

        @workflow("optioned")
        async def optioned():
            return 1

        @workflow("other", worker="options-group")
        async def other():
            return 1
        """,
    )
    run = live.run("gives-options")
    assert run["state"] == "succeeded", run["error"]
    made = [live.wait(id) for id in run["result"]]
    assert (made[0]["priority"], made[0]["max_attempts"], made[2]["group"]) == (3, 8, "options-group")
    assert made[3]["id"] == "00000000-0000-7000-8000-00000000000a"
    bad = live.run("gives-bad-option")
    assert (bad["state"], bad["attempts"], bad["error"]["reason"]) == ("dead", 1, "not_json")


def test_a_parked_run_lets_its_worker_idle_out_and_continues_in_another(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "100ms"\n')
    project.workflow(
        "idle.py",
        """
        @workflow("idles")
        async def idles(payload, step: Step):
            first = await step.run("pid", os.getpid)
            await step.wait_for("go")
            return [first, os.getpid()]
        """,
    )
    project.serve()
    run_id = project.enqueue("idles")
    project.wait_for_state(run_id, "waiting")
    wait_until(lambda: project.group("default")["state"] == "zero", "the group is at zero")
    with project.client() as client:
        client.signal("go")
    first, second = project.wait(run_id)["result"]
    assert first != second
