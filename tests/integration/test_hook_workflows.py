"""`@workflow(on_dead=…, on_unhealthy=…)`: workflows that run when a run dies or a group becomes unhealthy."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.failpoints import serve_until
from tests.support.project import Project, command_in, wait_until

WORKFLOWS = """
    from tako_lite.hooks import Death, Unhealthy

    @workflow("alert", on_dead="*", worker="alerts")
    async def alert(death: Death, step: Step):
        assert isinstance(death, Death)
        witness("alert", **{name: getattr(death, name) for name in Death.__slots__})
        if death.message == "and the alert dies too":
            await step.invoke("child", "dies", "again", retries=0)

    @workflow("only-mail", on_dead=["mail-*", "in-broken"], worker="alerts", retries=0)
    async def only_mail(death: Death): ...

    @workflow("page", on_unhealthy=["broken", "nobody*"], worker="alerts")
    async def page(about: Unhealthy):
        assert isinstance(about, Unhealthy)
        witness("page", **{name: getattr(about, name) for name in Unhealthy.__slots__})

    @workflow("dies", retries=0)
    async def dies(payload):
        raise LookupError(payload)

    @workflow("crashes", retries=5, worker="crashes")
    async def crashes(payload):
        os.kill(os.getpid(), signal.SIGKILL)

    @workflow("slow", retries=0, timeout=0.1)
    async def slow(payload):
        await asyncio.sleep(60)

    @workflow("mail-bulk", retries=0)
    async def mail_bulk(payload: int): ...

    @workflow("in-broken", worker="broken")
    async def in_broken(payload): ...
"""
BROKEN = 'from tako_lite import workflow\nimport nowhere\n@workflow("x", worker="broken")\nasync def x(payload): ...\n'


@pytest.fixture(scope="module")
def shop(live: Project) -> Iterator[Project]:
    """The live project with hooks."""
    live.configure("[workflows.crashes]\nmax_crashes = 1\n")
    live.add("a.py", WORKFLOWS)
    return live


def hook_runs(project: Project, workflow: str, dead: str) -> list[dict[str, Any]]:
    """The runs of a hook workflow for a dead run."""
    with project.client() as client:
        found: list[dict[str, Any]] = client.call("runs", workflow=workflow)["runs"]
    return [run for run in found if run["parent"] == dead]


def alert(project: Project, dead: str) -> dict[str, Any]:
    """What the alert for a dead run was passed."""
    return wait_until(lambda: next((fact for fact in project.facts("alert") if fact["run_id"] == dead), None), "the alert runs")


def test_a_run_that_dies_starts_its_hooks_with_a_typed_death(shop: Project) -> None:
    begun = time.monotonic()
    run = shop.run("dies", "boom")
    about = alert(shop, run["id"])
    assert {key: about[key] for key in ("workflow", "group", "tenant", "attempts", "error", "message", "reason", "see")} == {
        "workflow": "dies",
        "group": "default",
        "tenant": None,
        "attempts": 1,
        "error": "LookupError",
        "message": "boom",
        "reason": None,
        "see": f"tako-lite show {run['id']}",
    }
    assert time.monotonic() - begun < 15
    assert about["finished_at"] == run["finished_at"]
    assert hook_runs(shop, "only-mail", run["id"]) == []


@pytest.mark.parametrize(
    ("workflow", "payload", "reason"),
    [("crashes", None, "crashed"), ("slow", None, "timeout"), ("mail-bulk", "x", "bad_payload")],
)
def test_a_crash_a_timeout_and_a_refused_payload_are_deaths(shop: Project, workflow: str, payload: object, reason: str) -> None:
    with shop.client() as client:
        run = client.wait(client.call("enqueue", workflow=workflow, payload=payload)["id"], timeout=15)
    assert run["state"] == "dead"
    assert alert(shop, run["id"])["reason"] == reason
    assert len(hook_runs(shop, "only-mail", run["id"])) == (workflow == "mail-bulk")


def test_the_death_of_a_hook_run_or_of_its_child_starts_none(shop: Project) -> None:
    run = shop.run("dies", "and the alert dies too", retries=0)
    (made,) = wait_until(lambda: hook_runs(shop, "alert", run["id"]), "the hook run is stored")
    assert shop.wait(made["id"], limit=60)["state"] in ("dead", "succeeded")
    with shop.client() as client:
        children = [each for each in client.call("runs", workflow="dies")["runs"] if each["parent"] == made["id"]]
    assert children
    assert all(child["state"] == "dead" for child in children)
    assert [hook_runs(shop, "alert", child["id"]) for child in children] == [[]] * len(children)
    assert hook_runs(shop, "alert", made["id"]) == []


def test_a_group_that_becomes_unhealthy_starts_one_run_and_another_one_after_it_was_healthy(shop: Project) -> None:
    broken = shop.root / "workflows/broken.py"
    for times in (1, 2):
        broken.write_text(BROKEN)
        shop.call("reload")
        run_id = shop.enqueue("in-broken")
        wait_until(lambda: shop.group("broken")["state"] == "unhealthy", "the group is unhealthy", 30)
        if times == 1:  # still broken after a reload: that it fails again is nothing new
            shop.call("reload")
            wait_until(lambda: shop.group("broken")["state"] == "unhealthy", "the group is unhealthy", 30)
        facts = shop.wait_for_fact("page", times)
        broken.unlink()
        shop.call("reload")
        assert shop.wait(run_id)["state"] == "succeeded"
        assert len(shop.facts("page")) == times
    about = facts[-1]
    assert (about["group"], about["server"], about["failures"]) == ("broken", "here", 5)
    assert "No module named 'nowhere'" in about["error"]
    assert about["see"] == "tako-lite groups broken"


@pytest.mark.sqlite
@pytest.mark.parametrize(("point", "count"), [("finish.between", 0), ("finish.after_commit", 1)])
def test_a_daemon_that_dies_at_a_death_has_stored_both_or_neither(project: Project, point: str, count: int) -> None:
    project.workflow("a.py", WORKFLOWS)
    daemon = serve_until(project, f"{point}=kill")
    with project.client() as client:
        run_id = client.enqueue("dies", "boom").id
        assert daemon.wait(15) == -signal.SIGKILL
        assert (client.get(run_id)["state"] == "dead") == bool(count)
        assert len(client.call("runs", workflow="alert")["runs"]) == count
    project.serve()
    assert project.wait(run_id)["state"] == "dead"
    assert alert(project, run_id)["message"] == "boom"
    assert len(hook_runs(project, "alert", run_id)) == 1


def test_a_run_that_is_refused_while_no_daemon_runs_has_its_hook_run_too(project: Project) -> None:
    project.configure('[workflows.vip]\nallowed_tenants = ["acme"]\n[tenants.acme]\n')
    project.workflow("a.py", WORKFLOWS)
    made = project.command("enqueue", "dies", "1", "--worker", "vip", "--json")
    with project.client() as client:
        (dead,) = client.call("runs", workflow="dies")["runs"]
        (run,) = client.call("runs", workflow="alert")["runs"]
    assert (dead["state"], run["state"], run["parent"]) == ("dead", "pending", dead["id"]), made.stderr


CHECKED = [
    ('on_dead="dyes"', 'on_dead: no workflow is named "dyes"', "did you mean `dies`?", "3:27"),
    ("on_dead=3", "on_dead: expected a name or a list of names, got 3", "such as", "3:27"),
    ('on_dead=["a b"]', "on_dead: 'a b' is not a name, or a name with *", "such as", "3:27"),
    ('on_unhealthy="defautl"', "on_unhealthy of hook: there is no worker group 'defautl'", "did you mean `default`?", "4:1"),
]


@pytest.mark.parametrize(("option", "message", "hint", "place"), CHECKED)
def test_check_reports_a_hook_for_what_does_not_exist(
    project: Project, option: str, message: str, hint: str, place: str
) -> None:
    (project.root / "workflows/a.py").write_text(
        f'from tako_lite import workflow\n\n@workflow("hook", {option})\nasync def hook(payload): ...\n'
        '\n@workflow("dies")\nasync def dies(payload): ...\n'
    )
    checked = command_in(project.root, "check")
    assert checked.returncode == 3
    assert f"workflows/a.py:{place}: {message}" in checked.stdout
    assert hint in checked.stdout
    served = project.cli("serve")
    assert served.returncode == 3
    assert message in served.stderr + served.stdout
