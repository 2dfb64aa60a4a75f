"""Where runs go in a served project: lost groups, tenants, templates, retries, children."""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tako_lite.cli.main import main
from tests.support.project import Project, rows, wait_until

TENANTS = "[tenants.acme]\n[tenants.globex]\n[tenants.initech]\n"
ECHO = """
    @workflow("echo", worker="home")
    async def echo(payload, step):
        witness("echo", payload=payload, tenant=step.tenant)
        return payload

    @workflow("hold", worker="home")
    async def hold(payload, step):
        witness("hold")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
"""
WAKES = """
    @workflow("signalled", worker="home")
    async def signalled(payload, step):
        await step.wait_for("go")

    @workflow("asleep", worker="home")
    async def asleep(payload, step):
        await step.sleep("nap", 1.5)

    @workflow("invokes", worker="home")
    async def invokes(payload, step):
        await step.invoke("child", "waits")

    @workflow("waits")
    async def waits(payload, step):
        await step.wait_for("go")
"""


def moment(text: str) -> datetime:
    """A time that a run has."""
    return datetime.fromisoformat(text)


@pytest.fixture
def home(project: Project) -> Project:
    """A project with a group `home`, served."""
    project.configure('[workflows.home]\nconcurrency = 1\nwait_timeout = "1h"\n' + TENANTS)
    project.workflow("a.py", ECHO)
    project.serve()
    return project


# A group that is lost


@pytest.mark.parametrize(
    ("word", "state", "group"),
    [("fail", "dead", "home"), ("cancel", "cancelled", "home"), ("ignore", "succeeded", "default")],
)
def test_a_run_that_enters_a_paused_group_gets_its_fallback_at_once(home: Project, word: str, state: str, group: str) -> None:
    home.command("pause", "home")
    run = home.run("echo", fallback=word)
    assert (run["state"], run["group"], run["attempts"]) == (state, group, int(state == "succeeded"))
    assert run["group_source"] == ("fallback" if word == "ignore" else "workflow")
    assert word == "ignore" or run["error"]["reason"] == "no_worker"


def test_queued_runs_get_their_fallback_when_their_group_is_paused(home: Project) -> None:
    held = home.enqueue("hold")
    home.wait_for_fact("hold")
    runs = {word: home.enqueue("echo", fallback=word) for word in ("wait", "fail", "cancel", "ignore")}
    home.command("pause", "home")
    assert home.wait(runs["fail"], 2)["error"]["reason"] == "no_worker"
    assert home.wait(runs["cancel"], 2)["state"] == "cancelled"
    assert home.wait(runs["ignore"], 5)["group"] == "default"
    assert home.get(runs["wait"])["state"] == "pending"
    assert home.get(held)["state"] == "running"
    (home.root / "go").touch()
    home.command("resume", "home")
    assert home.wait(runs["wait"])["state"] == home.wait(held)["state"] == "succeeded"


def test_a_run_that_becomes_due_in_an_unavailable_group_gets_its_fallback_then(home: Project) -> None:
    home.command("pause", "home")
    run = home.enqueue("echo", fallback="fail", delay=0.3)
    assert home.get(run)["state"] == "pending"
    assert home.wait(run, 3)["error"]["reason"] == "no_worker"


def test_a_run_that_wakes_in_an_unavailable_group_gets_its_fallback_then(home: Project) -> None:
    home.add("b.py", WAKES)
    signalled = {word: home.enqueue("signalled", fallback=word) for word in ("fail", "cancel", "ignore", "wait")}
    parent = home.enqueue("invokes", fallback="cancel")
    for run in (*signalled.values(), parent):
        home.wait_for_state(run, "waiting")
    asleep = home.enqueue("asleep", fallback="fail")
    home.wait_for_state(asleep, "waiting")
    everyone = [*signalled.values(), parent, asleep]
    home.call("pause", group="home")
    assert [home.get(run)["state"] for run in everyone] == ["waiting"] * 6
    assert home.call("signal", event="go", payload=None)["woken"] == 5
    for run, state in (
        (signalled["fail"], "dead"),
        (signalled["cancel"], "cancelled"),
        (asleep, "dead"),
        (parent, "cancelled"),
    ):
        ended = home.wait(run, 5)
        assert (ended["state"], ended["error"]["reason"], ended["group"]) == (state, "no_worker", "home")
        assert (ended["attempts"], ended["started_at"] is not None) == (0, True)
    elsewhere = home.wait(signalled["ignore"], 5)
    assert (elsewhere["state"], elsewhere["group"], elsewhere["group_source"]) == ("succeeded", "default", "fallback")
    assert home.get(signalled["wait"])["state"] == "pending"
    home.call("resume", group="home")
    assert home.wait(signalled["wait"])["state"] == "succeeded"


def test_runs_that_are_to_fail_end_within_a_second_of_the_pause(home: Project) -> None:
    home.enqueue("hold")
    home.wait_for_fact("hold")
    with home.client() as client:
        runs = list(client.enqueue_many("echo", range(500), fallback="fail"))
        client.call("pause", group="home")
        paused = datetime.now(UTC)
        ended = [client.wait(run, timeout=10) for run in runs]
    assert {run["error"]["reason"] for run in ended} == {"no_worker"}
    assert max(moment(run["finished_at"]) for run in ended) - paused < timedelta(seconds=1)


def test_a_group_that_cannot_start_is_lost_once_it_is_unhealthy(project: Project) -> None:
    project.workflow("good.py", '@workflow("good")\ndef good(): ...\n')
    project.workflow(
        "broken.py", 'import no_such_module\n@workflow("broken", worker="broken", fallback="fail")\ndef broken(): ...\n'
    )
    project.serve()
    run = project.enqueue("broken")
    ended = project.wait(run, 30)
    assert ended["error"]["reason"] == "no_worker"
    assert "no_such_module" in ended["error"]["message"]
    assert ended["attempts"] == 0
    project.workflow("broken.py", '@workflow("broken", worker="broken", fallback="fail")\ndef broken(): ...\n')
    project.call("resume", group="broken")
    assert project.run("broken", fallback="wait")["state"] == "succeeded"
    wait_until(lambda: project.query("SELECT lost_at FROM groups") == [(None,)], "its loss is over")


def test_waiting_for_a_lost_group_ends_after_wait_timeout_and_for_a_busy_one_never(project: Project) -> None:
    project.configure('[workflows.home]\nconcurrency = 1\nwait_timeout = "700ms"\n')
    project.workflow("a.py", ECHO)
    project.serve()
    held = project.enqueue("hold")
    project.wait_for_fact("hold")
    waiting = project.enqueue("echo")
    until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > until, "twice the time-out is over")
    assert project.get(waiting)["state"] == "pending"
    project.command("pause", "home")
    assert project.get(waiting)["state"] == "pending"
    ended = project.wait(waiting, 5)
    assert (ended["state"], ended["error"]["reason"], ended["attempts"]) == ("dead", "no_worker", 0)
    assert project.get(held)["state"] == "running"


def test_wait_timeout_counts_from_the_loss_also_over_a_restart(project: Project) -> None:
    project.configure('[workflows.home]\nwait_timeout = "2s"\n')
    project.workflow("a.py", ECHO)
    project.serve()
    project.call("pause", group="home")
    over = time.monotonic() + 2.1
    run = project.enqueue("echo")
    project.stop()
    wait_until(lambda: time.monotonic() > over, "the time-out is over")
    assert project.get(run)["state"] == "pending"
    project.serve()
    started = datetime.now(UTC)
    ended = project.wait(run, 5)
    assert (ended["state"], ended["error"]["reason"]) == ("dead", "no_worker")
    assert moment(ended["finished_at"]) - started < timedelta(seconds=1)


def test_with_the_daemon_down_a_run_gets_its_fallback_at_the_next_start(home: Project) -> None:
    home.command("pause", "home")
    home.stop()
    run = home.enqueue("echo", fallback="fail")
    assert home.get(run)["state"] == "pending"
    home.serve()
    assert home.wait(run, 5)["error"]["reason"] == "no_worker"


def test_many_runs_at_once_get_the_same_fallback_as_one(home: Project) -> None:
    home.command("pause", "home")
    with home.client() as client:
        ids = client.enqueue_many("echo", range(50), fallback="fail")
        assert "is paused" in str(ids.warning)
        assert {client.get(id)["state"] for id in ids} == {"dead"}


def test_a_group_that_is_asleep_or_busy_is_available(home: Project) -> None:
    held = home.enqueue("hold", fallback="fail")
    home.wait_for_fact("hold")
    behind = home.enqueue("echo", fallback="cancel")
    assert home.get(behind)["state"] == "pending"
    (home.root / "go").touch()
    assert home.wait(held)["state"] == home.wait(behind)["state"] == "succeeded"


# Tenants


def test_a_tenant_that_is_not_allowed_is_denied_and_never_executed(project: Project) -> None:
    project.configure('[workflows.home]\nallowed_tenants = ["acme"]\n' + TENANTS)
    project.workflow("a.py", ECHO)
    project.serve()
    assert project.run("echo", tenant="acme")["state"] == "succeeded"
    for tenant in ("globex", None):
        denied = project.run("echo", tenant=tenant)
        assert (denied["state"], denied["error"]["reason"]) == ("dead", "tenant_denied")
        assert (denied["started_at"], denied["attempts"], denied["worker_pid"]) == (None, 0, None)
    assert [fact["tenant"] for fact in project.facts("echo")] == ["acme"]
    refused = project.command("enqueue", "echo", "--tenant", "acne")
    assert refused.returncode == 5
    assert "did you mean `acme`?" in refused.stderr


def test_one_that_falls_back_to_default_must_be_allowed_there(project: Project) -> None:
    project.configure('[workflows.home]\nconcurrency = 1\n[workflows.default]\nallowed_tenants = ["acme"]\n' + TENANTS)
    project.workflow("a.py", ECHO)
    project.serve()
    project.enqueue("hold")
    project.wait_for_fact("hold")
    queued = {tenant: project.enqueue("echo", tenant=tenant, fallback="ignore") for tenant in ("acme", "globex", None)}
    project.call("pause", group="home")
    came = {tenant: project.enqueue("echo", tenant=tenant, fallback="ignore") for tenant in ("acme", "globex", None)}
    for runs in (queued, came):
        ended = {tenant: project.wait(run, 5) for tenant, run in runs.items()}
        assert {(run["group"], run["group_source"]) for run in ended.values()} == {("default", "fallback")}
        assert ended["acme"]["state"] == "succeeded"
        for tenant in ("globex", None):
            denied = ended[tenant]
            assert (denied["state"], denied["error"]["reason"], denied["attempts"]) == ("dead", "tenant_denied", 0)
            assert denied["started_at"] is None
    assert {fact["tenant"] for fact in project.facts("echo")} == {"acme"}


def test_a_list_that_changed_holds_for_what_is_queued_already(home: Project) -> None:
    held = home.enqueue("hold", tenant="acme")
    home.wait_for_fact("hold")
    queued = {tenant: home.enqueue("echo", tenant=tenant) for tenant in ("acme", "globex")}
    home.configure('[workflows.home]\nconcurrency = 1\nallowed_tenants = ["acme"]\n' + TENANTS)
    home.call("reload")
    (home.root / "go").touch()
    assert home.wait(held)["state"] == home.wait(queued["acme"])["state"] == "succeeded"
    denied = home.wait(queued["globex"])
    assert (denied["state"], denied["error"]["reason"], denied["attempts"]) == ("dead", "tenant_denied", 0)
    assert (denied["started_at"], denied["worker_pid"], denied["finished_at"] is None) == (None, None, False)
    assert {fact["tenant"] for fact in home.facts("echo")} == {"acme"}


def test_a_list_that_changed_holds_for_the_next_attempt_of_a_run(home: Project) -> None:
    home.add(
        "b.py",
        """
        @workflow("fails", worker="home", retries=5, backoff=Backoff(base=1, max=1))
        def fails():
            witness("fails")
            raise ValueError("no")
        """,
    )
    run = home.enqueue("fails", tenant="globex")
    home.wait_for_fact("fails")
    home.configure('[workflows.home]\nallowed_tenants = ["acme"]\n' + TENANTS)
    home.call("reload")
    began = home.get(run)["started_at"]
    ended = home.wait(run)
    assert (ended["error"]["reason"], ended["attempts"], len(home.facts("fails"))) == ("tenant_denied", 1, 1)
    assert ended["started_at"] == began is not None


def test_a_run_finds_the_environment_of_its_tenant_and_no_other(project: Project) -> None:
    project.configure('[tenants.acme.env]\nBUCKET = "acme-files"\n[tenants.globex.env]\nBUCKET = "globex-files"\n')
    project.workflow(
        "a.py",
        """
        @workflow("env")
        def env(payload, step):
            return [step.tenant, step.env.get("BUCKET"), os.environ.get("BUCKET")]
        """,
    )
    project.serve()
    assert project.run("env", tenant="acme")["result"] == ["acme", "acme-files", None]
    assert project.run("env", tenant="globex")["result"] == ["globex", "globex-files", None]
    assert project.run("env")["result"] == [None, None, None]


def test_the_reason_of_a_run_that_went_nowhere_is_shown_wherever_one_looks(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.configure('[workflows.home]\n[workflows.books]\nallowed_tenants = ["acme"]\n' + TENANTS)
    project.workflow("a.py", '@workflow("echo", worker="{group}")\ndef echo(payload):\n    return payload\n')
    project.serve()
    project.call("pause", group="home")
    runs = {
        ("no_worker", "dead", "is paused"): project.enqueue("echo", {"group": "home"}, fallback="fail"),
        ("no_worker", "cancelled", "is paused"): project.enqueue("echo", {"group": "home"}, fallback="cancel"),
        ("unknown_group", "dead", "'hoem'"): project.enqueue("echo", {"group": "hoem"}),
        ("tenant_denied", "dead", "is for acme"): project.enqueue("echo", {"group": "books"}, tenant="globex"),
    }

    def told(*words: str) -> str:
        assert main([*words, "-c", str(project.root)]) == 0
        return capsys.readouterr().out

    listed = rows(told("runs"))
    for (reason, state, message), run in runs.items():
        shown = json.loads(told("show", run, "--json"))
        assert (shown["state"], shown["error"]["reason"]) == (state, reason)
        assert message in shown["error"]["message"]
        (line,) = [line for ending, line in listed.items() if run.endswith(ending)]
        assert f" {state} " in line and reason in line
        assert f"({reason})" in told("show", run)
        assert message in told("why", run)


# Whoever starts a run


def test_a_child_is_routed_by_its_own_workflow_for_the_tenant_of_its_parent(project: Project) -> None:
    project.configure('[workflows.books]\nallowed_tenants = ["acme"]\n' + TENANTS)
    project.workflow(
        "a.py",
        """
        from tako_lite import ChildFailed

        @workflow("parent")
        async def parent(payload, step):
            try:
                return await step.invoke("child", "child")
            except ChildFailed as error:
                return error.reason

        @workflow("child", worker="books")
        async def child(payload, step):
            return step.tenant
        """,
    )
    project.serve()
    assert project.run("parent", tenant="acme")["result"] == "acme"
    assert project.run("parent", tenant="globex")["result"] == "tenant_denied"


def test_a_schedule_has_no_tenant_and_is_denied_where_there_is_a_list(project: Project) -> None:
    project.configure('[workflows.home]\nallowed_tenants = ["acme"]\n' + TENANTS)
    project.workflow("a.py", '@workflow("tick", worker="home", schedule="* * * * * *")\ndef tick(): ...\n')
    project.serve()
    with project.client() as client:
        runs = wait_until(lambda: client.call("runs", workflow="tick")["runs"], "a slot fired")
    assert {(run["state"], run["error"]["reason"]) for run in runs} == {("dead", "tenant_denied")}


def test_a_retry_chooses_the_route_again(project: Project) -> None:
    project.configure("[workflows.gold]\n")
    project.workflow("a.py", '@workflow("echo", worker="{tier}")\ndef echo(payload):\n    return payload\n')
    project.serve()
    run = project.run("echo", {"tier": "silver"})
    assert (run["state"], run["error"]["reason"]) == ("dead", "unknown_group")
    assert "silver" in project.command("why", run["id"]).stdout
    again = project.command("retry", run["id"])
    assert again.returncode == 1 and "it cannot start" in again.stderr
    assert project.get(run["id"])["error"]["reason"] == "unknown_group"
    project.configure("[workflows.gold]\n[workflows.silver]\n")
    project.call("reload")
    assert project.command("retry", run["id"]).returncode == 0
    ended = project.wait(run["id"])
    assert (ended["state"], ended["group"]) == ("succeeded", "silver")


def test_a_retried_attempt_in_an_unavailable_group_gets_its_fallback_when_it_is_due(home: Project) -> None:
    home.add(
        "b.py",
        """
        @workflow("fails", worker="home", retries=3, backoff=Backoff(base=2))
        def fails():
            witness("fails")
            raise ValueError("no")
        """,
    )
    run = home.enqueue("fails", fallback="fail")
    home.wait_for_fact("fails")
    home.call("pause", group="home")
    ended = home.wait(run, 5)
    assert (ended["error"]["reason"], ended["attempts"], len(home.facts("fails"))) == ("no_worker", 1, 1)


# Parents and children


FAMILY = """
    @workflow("parent", worker="one")
    async def parent(payload, step):
        return await step.invoke("child", "child" if payload == 0 else "parent", payload and payload - 1)

    @workflow("child", worker="one")
    async def child(payload, step):
        if payload is not None:
            return "leaf"
        witness("child", id=step.run_id)
        await asyncio.sleep(60)
"""


def test_a_family_as_deep_as_you_like_gets_by_with_one_slot(project: Project) -> None:
    project.configure("[workflows.one]\nconcurrency = 1\n")
    project.workflow("a.py", FAMILY)
    project.serve()
    assert project.run("parent", 6)["result"] == "leaf"


def test_a_cancel_of_the_parent_reaches_the_runs_that_it_invoked(project: Project) -> None:
    project.configure("[workflows.one]\nconcurrency = 2\n")
    project.workflow("a.py", FAMILY.replace("payload and payload - 1", "payload - 1 if payload else None"))
    project.serve()
    top = project.enqueue("parent", 2)
    (fact,) = project.wait_for_fact("child")
    assert project.command("cancel", top).returncode == 0
    assert project.wait(top)["state"] == "cancelled"
    leaf = project.wait(fact["id"], 10)
    assert (leaf["state"], leaf["error"]["reason"]) == ("cancelled", "cancelled")
    with project.client() as client:
        states = Counter(run["state"] for run in client.call("runs")["runs"])
    assert states == {"cancelled": 4}


THREE = """
    GROUPS = ["one", "two", "three"]

    @workflow("floor", worker="{group}")
    async def floor(payload, step):
        depth = payload["depth"]
        with open("/proc/self/comm") as name:
            witness("floor", depth=depth, group=name.read().strip().removeprefix("tako-"), id=step.run_id)
        if depth == 0:
            return await step.wait_for("go") if payload["wait"] else "ground"
        below = {"depth": depth - 1, "group": GROUPS[(depth - 1) % 3], "wait": payload["wait"]}
        below_me = [step.invoke(f"below {number}", "floor", below) for number in range(payload.get("wide", 1))]
        answers = await asyncio.gather(*below_me)
        return f"{depth} {answers[0]}"
"""


@pytest.fixture
def tower(project: Project) -> Project:
    """A project whose workflow `floor` invokes itself in another of three groups with a slot each."""
    project.configure("".join(f"[workflows.{group}]\nconcurrency = 1\nmax_workers = 1\n" for group in ("one", "two", "three")))
    project.workflow("a.py", THREE)
    project.serve()
    return project


def test_families_across_three_groups_with_a_slot_each_end_however_deep_and_many(tower: Project) -> None:
    ids = [tower.enqueue("floor", {"depth": 7, "group": "two", "wait": False, "wide": 2}) for _ in range(2)]
    assert {tower.wait(id, 30)["result"] for id in ids} == {"7 6 5 4 3 2 1 ground"}
    groups = {fact["depth"]: fact["group"] for fact in tower.facts("floor")}
    assert groups == {depth: ("one", "two", "three")[depth % 3] for depth in range(8)}
    with tower.client() as client:
        runs = client.call("runs")["runs"]
    assert {run["state"] for run in runs} == {"succeeded"} and len(runs) == 2 * (1 + 2 * 7)


def test_a_cancel_reaches_all_the_way_down_through_groups_that_are_paused_too(tower: Project) -> None:
    other = tower.enqueue("floor", {"depth": 2, "group": "three", "wait": True})
    top = tower.enqueue("floor", {"depth": 6, "group": "one", "wait": True})
    with tower.client() as client:
        wait_until(lambda: len(client.call("runs", states=["waiting"])["runs"]) == 10, "both families wait")
        client.call("pause", group="two")
        assert client.cancel(top) == {top: "cancelled"}
        family = {fact["id"] for fact in tower.facts("floor")}
        states = Counter(client.get(id)["state"] for id in family)
        assert states == {"cancelled": 7, "waiting": 3}
        assert client.get(other)["state"] == "waiting"
        client.call("resume", group="two")
        client.signal("go", "up")
        assert client.wait(other, timeout=15)["result"] == "2 1 up"


def test_a_child_in_an_unavailable_group_ends_for_its_parent_or_waits_as_configured(project: Project) -> None:
    project.configure("[workflows.one]\n[workflows.two]\n")
    project.workflow(
        "a.py",
        """
        from tako_lite import ChildFailed

        @workflow("parent", worker="one")
        async def parent(payload, step):
            try:
                return await step.invoke("child", "child", fallback=payload)
            except ChildFailed as error:
                return f"{error.reason} {error.state}"

        @workflow("child", worker="two")
        async def child(payload, step):
            return step.run_id
        """,
    )
    project.serve()
    project.call("pause", group="two")
    runs = {word: project.enqueue("parent", word) for word in ("fail", "cancel", "wait", "ignore")}
    assert project.wait(runs["fail"])["result"] == "no_worker dead"
    assert project.wait(runs["cancel"])["result"] == "no_worker cancelled"
    assert project.get(project.wait(runs["ignore"])["result"])["group"] == "default"
    project.wait_for_state(runs["wait"], "waiting")
    project.call("resume", group="two")
    assert project.get(project.wait(runs["wait"])["result"])["group"] == "two"


# All of it at random


@dataclass
class Lists:
    """The tenants that each group is for, from when they were written until the next ones were read."""

    allowed: dict[str, list[str] | None]
    since: float
    until: float = math.inf


WORK = """
    from tako_lite import ChildFailed

    def executed(step):
        with open("/proc/self/comm") as name:
            witness("executed", group=name.read().strip().removeprefix("tako-"), id=step.run_id, tenant=step.tenant)

    @workflow("work", worker="{group}", retries=2, backoff=Backoff(base=0.05))
    async def work(payload, step):
        executed(step)
        if step.attempt == 1 and payload["fail"]:
            raise ValueError("once more")

    @workflow("flow", worker="{group}", retries=2, backoff=Backoff(base=0.05))
    async def flow(payload, step):
        executed(step)
        try:
            return await step.invoke("child", "work", payload["child"])
        except ChildFailed as error:
            return error.reason
"""


def test_no_run_is_ever_executed_by_a_group_that_its_tenant_may_not_use(project: Project) -> None:
    dice = random.Random(11)
    groups, names = ["a", "b", "c", "default"], ["acme", "globex", "initech"]
    history: list[Lists] = []

    def configure() -> None:
        allowed = {group: dice.choice([None, *(dice.sample(names, size) for size in (0, 1, 2, 3))]) for group in groups}
        toml = "".join(
            f"[workflows.{group}]\nconcurrency = 2\n" + ("" if some is None else f"allowed_tenants = {json.dumps(some)}\n")
            for group, some in allowed.items()
        )
        history.append(Lists(allowed, time.time()))
        project.configure(toml + TENANTS.replace("[tenants.globex]", '[tenants.globex]\nworker = "b"'))

    def payload() -> dict[str, object]:
        return {"group": dice.choice([*groups, ""]), "fail": dice.random() < 0.3}

    configure()
    project.workflow("a.py", WORK)
    project.serve()
    retried: Counter[str] = Counter()
    with project.client() as client:
        for _ in range(6):
            for _ in range(25):
                options = {"tenant": dice.choice([*names, None]), "fallback": dice.choice(["wait", "ignore", "fail"])}
                if dice.random() < 0.3:
                    client.enqueue("flow", {**payload(), "child": payload()}, **options)
                else:
                    client.enqueue("work", payload(), **options)
            lost = dice.choice(groups)
            client.call("pause", group=lost)
            configure()
            client.call("reload")
            history[-2].until = time.time()
            dead = client.call("ids", states=["dead"])["ids"]
            retried.update(client.retry(*dice.sample(dead, min(8, len(dead)))).values())
            client.call("resume", group=lost)
        wait_until(lambda: not client.call("ids", states=["pending", "running", "waiting"])["ids"], "all are over", 30)
        runs = {id: client.get(id) for id in client.call("ids")["ids"]}
    facts = project.facts("executed")
    begun: set[str] = set()
    for fact in facts:
        run = runs[fact["id"]]
        began = moment(run["started_at"]).timestamp()  # when it was first claimed
        is_first = run["id"] not in begun and run["group_source"] != "fallback"
        since, until = (began, began + 0.001) if is_first else (fact["at"] - 1, fact["at"])
        in_force = [lists.allowed[fact["group"]] for lists in history if lists.since <= until and lists.until >= since]
        assert any(some is None or fact["tenant"] in some for some in in_force), (fact, run)
        assert fact["tenant"] == run["tenant"]
        begun.add(run["id"])
    children = [run for run in runs.values() if run["parent"]]
    assert all(child["tenant"] == runs[child["parent"]]["tenant"] for child in children)
    assert {run["id"] for run in runs.values() if run["state"] == "succeeded"} <= begun
    reasons = Counter(run["error"]["reason"] for run in runs.values() if run["state"] == "dead")
    assert set(reasons) <= {"tenant_denied", "no_worker"} and reasons["tenant_denied"] > 10 and len(begun) > 30
    assert len({child["id"] for child in children} & begun) > 5 and {child["state"] for child in children} > {"dead"}
    assert set(retried) == {"pending", "refused"} and min(retried.values()) > 3, retried
