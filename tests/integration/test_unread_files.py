"""What the workflow files say and the daemon has not read, and runs whose workflow is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tako_lite.errors import NotFound
from tests.support.project import Project, wait_until

ORDERS = """
@workflow("order-a")
async def order_a(payload, step: Step):
    return 1

@workflow("order-b")
async def order_b(payload, step: Step):
    await step.wait_for("paid", timeout="1h")
"""
ONLY_A = ORDERS.partition('@workflow("order-b")')[0]
GONE = "2 runs of order-b wait, and no workflow file defines order-b any more"
REMEDY = "define it again, or tako-lite cancel --workflow order-b"


@pytest.fixture
def orders(project: Project) -> Iterator[Project]:
    """Two runs of order-b in the queue: one that waits for a signal, one that is due later."""
    project.workflow("orders.py", ORDERS)
    project.serve()
    project.wait_for_state(project.enqueue("order-b"), "waiting")
    project.enqueue("order-b", delay="1h")
    project.enqueue("order-a", delay="1h")
    yield project


def test_reload_status_and_doctor_report_runs_whose_workflow_is_gone(orders: Project) -> None:
    assert orders.call("reload")["warnings"] == []
    orders.workflow("orders.py", ONLY_A)
    sentence = f"{GONE} ({REMEDY})"
    assert orders.call("reload")["warnings"] == [sentence]
    assert orders.status()["warnings"] == [sentence]
    told = orders.command("reload")
    assert GONE in told.stderr
    assert json.loads(orders.command("reload", "--json").stdout)["warnings"] == [sentence]
    assert json.loads(orders.command("status", "--json").stdout)["warnings"] == [sentence]
    assert "order-b any more" in " ".join(orders.command("status").stdout.split())
    findings = json.loads(orders.command("doctor", "--json").stdout)["findings"]
    assert [finding["mend"] for finding in findings if finding["message"] == GONE] == [REMEDY]


def test_a_workflow_that_is_defined_again_is_no_longer_reported(orders: Project) -> None:
    orders.workflow("orders.py", ONLY_A)
    assert orders.call("reload")["warnings"]
    orders.workflow("orders.py", ORDERS)
    assert orders.call("reload")["warnings"] == []
    assert orders.status()["warnings"] == []


def test_cancelled_runs_are_no_longer_reported(orders: Project) -> None:
    orders.workflow("orders.py", ONLY_A)
    assert orders.call("reload")["warnings"]
    assert orders.command("cancel", "--workflow", "order-b").returncode == 0
    wait_until(lambda: not orders.status()["warnings"], "the warning is gone", 20)


def test_runs_whose_workflow_is_gone_are_reported_at_the_start_and_without_a_daemon(orders: Project) -> None:
    orders.stop()
    orders.workflow("orders.py", ONLY_A)
    assert orders.status()["warnings"] == [f"{GONE} ({REMEDY})"]
    findings = json.loads(orders.command("doctor", "--json").stdout)["findings"]
    assert [finding["level"] for finding in findings if finding["message"] == GONE] == ["warning"]
    orders.serve()
    wait_until(lambda: GONE in orders.daemon_log(), "the log tells of it")


def test_a_workflow_in_an_unread_file_is_reported_with_the_command_that_reads_it(project: Project) -> None:
    project.workflow("a.py", ONLY_A)
    project.serve()
    with pytest.raises(NotFound) as caught:
        project.enqueue("order-b")
    assert "has not read" not in (caught.value.hint or "")

    project.workflow("deep/orders.py", ORDERS.replace("order-a", "order-c"))
    with project.client() as client:
        for enqueue in (client.enqueue, lambda name: client.enqueue_many(name, [1])):
            with pytest.raises(NotFound) as caught:
                enqueue("order-b")
            assert caught.value.type == "unknown_workflow"
            assert caught.value.message == 'no workflow is named "order-b"'
            hint = caught.value.hint or ""
            assert hint.startswith("workflows/deep/orders.py:")
            assert hint.endswith(" defines it, but the daemon has not read that file yet: tako-lite reload")
    told = project.command("enqueue", "order-b")
    assert (told.returncode, "tako-lite reload" in told.stderr) == (5, True)

    project.call("reload")
    assert project.enqueue("order-b")


def test_an_unknown_name_and_a_file_with_mistakes_are_reported_as_before(project: Project) -> None:
    project.workflow("a.py", ONLY_A)
    project.serve()
    project.workflow("b.py", "def broken(:\n")
    with pytest.raises(NotFound) as caught:
        project.enqueue("order-aa")
    assert caught.value.hint == "did you mean `order-a`?"


def test_a_schedule_and_a_trigger_in_a_new_file_are_reported_in_the_same_way(project: Project) -> None:
    project.workflow("a.py", ONLY_A)
    project.serve()
    new = '@workflow("nightly", schedule="@daily")\ndef nightly(): ...\n'
    new += 'from tako_lite import poll\n@poll("look", every="1h", starts="order-a")\ndef look(cursor):\n    return [], None\n'
    project.workflow("b.py", new)
    for command in (("schedules", "run", "nightly"), ("schedules", "pause", "nightly"), ("triggers", "run", "look")):
        told = project.command(*command)
        assert told.returncode == 5
        assert "the daemon has not read that file yet: tako-lite reload" in told.stderr
