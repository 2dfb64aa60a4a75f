"""Where runs go in a served project: lost groups, tenants, templates, retries, children."""

from __future__ import annotations

import json
import random
import time
from collections import Counter

import pytest

from tests.integration.project import Project, wait_until

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
def test_a_run_that_comes_to_a_paused_group_is_judged_at_once(home: Project, word: str, state: str, group: str) -> None:
    home.cli("pause", "home")
    run = home.run("echo", fallback=word)
    assert (run["state"], run["group"], run["attempts"]) == (state, group, int(state == "succeeded"))
    assert run["group_source"] == ("fallback" if word == "ignore" else "workflow")
    assert word == "ignore" or run["error"]["reason"] == "no_worker"


def test_runs_that_were_queued_are_judged_when_their_group_is_paused(home: Project) -> None:
    held = home.enqueue("hold")
    home.wait_for_fact("hold")
    runs = {word: home.enqueue("echo", fallback=word) for word in ("wait", "fail", "cancel", "ignore")}
    home.cli("pause", "home")
    assert home.wait(runs["fail"], 2)["error"]["reason"] == "no_worker"
    assert home.wait(runs["cancel"], 2)["state"] == "cancelled"
    assert home.wait(runs["ignore"], 5)["group"] == "default"
    assert home.get(runs["wait"])["state"] == "pending"
    assert home.get(held)["state"] == "running"
    (home.root / "go").touch()
    home.cli("resume", "home")
    assert home.wait(runs["wait"])["state"] == home.wait(held)["state"] == "succeeded"


def test_a_run_that_becomes_due_while_its_group_is_lost_is_judged_then(home: Project) -> None:
    home.cli("pause", "home")
    run = home.enqueue("echo", fallback="fail", delay=0.3)
    assert home.get(run)["state"] == "pending"
    assert home.wait(run, 3)["error"]["reason"] == "no_worker"


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
    project.cli("pause", "home")
    assert project.get(waiting)["state"] == "pending"
    ended = project.wait(waiting, 5)
    assert (ended["state"], ended["error"]["reason"], ended["attempts"]) == ("dead", "no_worker", 0)
    assert project.get(held)["state"] == "running"


def test_wait_timeout_counts_from_the_loss_also_over_a_restart(project: Project) -> None:
    project.configure('[workflows.home]\nwait_timeout = "2s"\n')
    project.workflow("a.py", ECHO)
    project.serve()
    project.cli("pause", "home")
    run = project.enqueue("echo")
    project.stop()
    project.serve()
    assert project.wait(run, 8)["error"]["reason"] == "no_worker"


def test_with_the_daemon_down_a_run_is_judged_at_its_start(home: Project) -> None:
    home.cli("pause", "home")
    home.stop()
    run = home.enqueue("echo", fallback="fail")
    assert home.get(run)["state"] == "pending"
    home.serve()
    assert home.wait(run, 5)["error"]["reason"] == "no_worker"


def test_many_runs_at_once_are_judged_like_one(home: Project) -> None:
    home.cli("pause", "home")
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
    assert [fact["tenant"] for fact in project.facts("echo")] == ["acme"]
    refused = project.cli("enqueue", "echo", "--tenant", "acne")
    assert refused.returncode == 5
    assert "did you mean `acme`?" in refused.stderr


def test_a_list_that_changed_holds_for_what_is_queued_already(home: Project) -> None:
    held = home.enqueue("hold", tenant="acme")
    home.wait_for_fact("hold")
    queued = {tenant: home.enqueue("echo", tenant=tenant) for tenant in ("acme", "globex")}
    home.configure('[workflows.home]\nconcurrency = 1\nallowed_tenants = ["acme"]\n' + TENANTS)
    home.call("reload")
    (home.root / "go").touch()
    assert home.wait(held)["state"] == home.wait(queued["acme"])["state"] == "succeeded"
    denied = home.wait(queued["globex"])
    assert (denied["state"], denied["error"]["reason"]) == ("dead", "tenant_denied")
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
    ended = home.wait(run)
    assert (ended["error"]["reason"], ended["attempts"], len(home.facts("fails"))) == ("tenant_denied", 1, 1)


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


def test_a_retry_is_routed_anew(project: Project) -> None:
    project.configure("[workflows.gold]\n")
    project.workflow("a.py", '@workflow("echo", worker="{tier}")\ndef echo(payload):\n    return payload\n')
    project.serve()
    run = project.run("echo", {"tier": "silver"})
    assert (run["state"], run["error"]["reason"]) == ("dead", "unknown_group")
    assert "silver" in project.cli("why", run["id"]).stdout
    again = project.cli("retry", run["id"])
    assert again.returncode == 1 and "may not start again" in again.stderr
    assert project.get(run["id"])["error"]["reason"] == "unknown_group"
    project.configure("[workflows.gold]\n[workflows.silver]\n")
    project.call("reload")
    assert project.cli("retry", run["id"]).returncode == 0
    ended = project.wait(run["id"])
    assert (ended["state"], ended["group"]) == ("succeeded", "silver")


def test_a_retried_attempt_of_a_lost_group_is_judged_when_it_is_due(home: Project) -> None:
    home.add(
        "b.py",
        """
        @workflow("fails", worker="home", retries=3, backoff=Backoff(base=0.5))
        def fails():
            witness("fails")
            raise ValueError("no")
        """,
    )
    run = home.enqueue("fails", fallback="fail")
    home.wait_for_fact("fails")
    home.cli("pause", "home")
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
    assert project.cli("cancel", top).returncode == 0
    assert project.wait(top)["state"] == "cancelled"
    leaf = project.wait(fact["id"], 10)
    assert (leaf["state"], leaf["error"]["reason"]) == ("cancelled", "cancelled")
    with project.client() as client:
        states = Counter(run["state"] for run in client.call("runs")["runs"])
    assert states == {"cancelled": 4}


# All of it at random


def test_no_run_is_ever_executed_by_a_group_that_its_tenant_may_not_use(project: Project) -> None:
    dice = random.Random(11)
    groups, names = ["a", "b", "c", "default"], ["acme", "globex", "initech"]
    history: list[tuple[float, dict[str, list[str] | None]]] = []

    def configure() -> None:
        lists = {group: dice.choice([None, *(dice.sample(names, size) for size in (0, 1, 2, 3))]) for group in groups}
        toml = "".join(
            f"[workflows.{group}]\nconcurrency = 2\n" + ("" if some is None else f"allowed_tenants = {json.dumps(some)}\n")
            for group, some in lists.items()
        )
        project.configure(toml + TENANTS.replace("[tenants.globex]", '[tenants.globex]\nworker = "b"'))
        history.append((time.time(), lists))

    configure()
    project.workflow(
        "a.py",
        """
        @workflow("work", worker="{group}", retries=2, backoff=Backoff(base=0.05))
        async def work(payload, step):
            with open("/proc/self/comm") as name:
                witness("work", group=name.read().strip().removeprefix("tako-"), id=step.run_id, tenant=step.tenant)
            if step.attempt == 1 and payload["fail"]:
                raise ValueError("once more")
        """,
    )
    project.serve()
    ids: list[str] = []
    with project.client() as client:
        for _ in range(6):
            for _ in range(25):
                payload = {"group": dice.choice([*groups, ""]), "fail": dice.random() < 0.3}
                options = {"tenant": dice.choice([*names, None]), "fallback": dice.choice(["wait", "ignore", "fail"])}
                ids.append(client.enqueue("work", payload, **options).id)
            lost = dice.choice(groups)
            client.call("pause", group=lost)
            configure()
            client.call("reload")
            client.call("resume", group=lost)
        runs = [client.wait(id, timeout=30) for id in ids]
    facts = project.facts("work")
    for fact in facts:
        before = [lists for moment, lists in history if moment <= fact["at"]]
        recent = [lists for moment, lists in history if fact["at"] - 1 < moment <= fact["at"]]  # a reload takes a moment
        in_force = [lists[fact["group"]] for lists in (*before[-1 - len(recent) :], *recent)]
        assert any(some is None or fact["tenant"] in some for some in in_force), fact
    executed = {fact["id"] for fact in facts}
    reasons = Counter(run["error"]["reason"] for run in runs if run["state"] == "dead")
    assert {run["id"] for run in runs if run["state"] == "succeeded"} <= executed
    assert set(reasons) <= {"tenant_denied", "no_worker"} and reasons["tenant_denied"] > 10 and len(executed) > 30
