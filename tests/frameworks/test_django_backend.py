"""The backend of Django's tasks, with the expectations that Django's own tests have of one, and a real daemon."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tako_lite.testing import Tako
from tests.support.django_site import adapted, copy_site, has_django, tasks_module

if not has_django():
    pytest.skip("needs Django", allow_module_level=True)

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings

from tests.support.example_app import SLOW, program
from tests.support.project import REPOSITORY, wait_until

PROBES = """
import logging
import os
from django.tasks import task
from django.db import connection
from django.dispatch import receiver
from django.tasks.signals import task_finished, task_started

from shop.models import Order


class Refused(Exception):
    pass


@task
def add(a, b=1):
    return a + b


@task(priority=20)
async def aadd(a, b):
    return a + b


@task(takes_context=True)
def where(context, note):
    result = context.task_result
    return [context.attempt, result.id, result.status, result.args, os.getpid(), result.enqueued_at.isoformat()]


@task
def refuse(text):
    raise Refused(text)


@task(takes_context=True)
def second_time(context):
    if context.attempt == 1:
        raise ValueError("not yet")
    return context.attempt


@task
def leave():
    raise SystemExit("bye")


@task
def not_json():
    return object()


@task
async def count_orders():
    return await Order.objects.acount()


@task
def settings_of_connection():
    return connection.settings_dict["CONN_MAX_AGE"]


@task
def follow_up():
    return add.enqueue(20, b=22).id


@receiver([task_started, task_finished])
def note(sender, task_result, signal, **kwargs):
    name = "started" if signal is task_started else "finished"
    with open("signals.txt", "a") as file:
        print(name, sender.__name__, task_result.task.name, task_result.status, task_result.attempts, file=file)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example with further tasks, in this process and in the workers of its daemon."""
    folder = copy_site(tmp_path_factory.mktemp("django"))
    (folder / "shop" / "probes.py").write_text(adapted(PROBES))
    workflow = folder / "workflows" / "django_task.py"
    workflow.write_text(workflow.read_text().replace("retries=2", "retries=1, backoff=Backoff(base=0.05, max=0.05)"))
    workflow.write_text(workflow.read_text().replace("import BlockingStep", "import Backoff, BlockingStep"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    sys.path.insert(0, str(folder))
    django.setup()
    call_command("migrate", verbosity=0)
    with program(folder, ["-m", "tako_lite", "serve"]):
        wait_until(lambda: backend().client().status()["daemon"], "the daemon answers", SLOW)
        yield folder
    sys.path.remove(str(folder))
    del os.environ["DJANGO_SETTINGS_MODULE"]


def backend(alias: str = "default") -> Any:
    from tako_lite.ext.django.api import task_backends

    return task_backends[alias]


def probe(name: str) -> Any:
    from shop import probes

    return getattr(probes, name)


def ended(result: Any) -> Any:
    """A result after its end."""

    def refreshed() -> bool:
        result.refresh()
        return bool(result.is_finished)

    wait_until(refreshed, f"{result.task.name} has ended", SLOW)
    return result


@pytest.fixture(autouse=True)
def in_site(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)


def test_a_result_goes_from_ready_to_successful_with_all_that_django_asks_of_it() -> None:
    result = probe("add").enqueue(2, b=3)
    assert (result.status, result.args, result.kwargs, result.attempts) == ("READY", [2], {"b": 3}, 0)
    assert result.enqueued_at is not None
    assert (result.started_at, result.finished_at, result.errors) == (None, None, [])
    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018

    ended(result)
    assert (result.status, result.return_value, result.attempts, result.is_finished) == ("SUCCESSFUL", 5, 1, True)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert result.finished_at.tzinfo is not None
    assert backend().get_result(result.id) == result == probe("add").get_result(result.id)


def test_async_tasks_and_async_callers_are_served() -> None:
    async def main() -> Any:
        result = await probe("aadd").aenqueue(1, b=2)
        while not result.is_finished:
            await asyncio.sleep(0.01)
            await result.arefresh()
        return await probe("aadd").aget_result(result.id)

    found = asyncio.run(asyncio.wait_for(main(), SLOW))
    assert (found.return_value, found.task.priority) == (3, 20)
    assert ended(probe("count_orders").enqueue()).return_value == 0


def test_a_task_with_a_context_learns_its_attempt_and_its_result() -> None:
    result = ended(probe("where").enqueue("x"))
    attempt, id, status, args, pid, enqueued_at = result.return_value
    assert (attempt, id, status, args) == (1, result.id, "RUNNING", ["x"])
    assert result.worker_ids == [f"{os.uname().nodename}:{pid}"]
    assert datetime.fromisoformat(enqueued_at) - result.enqueued_at < timedelta(seconds=1)


def test_a_failed_task_has_the_class_and_the_traceback_of_each_attempt() -> None:
    result = ended(probe("refuse").enqueue("no"))
    assert (result.status, result.attempts, len(result.errors)) == ("FAILED", 2, 2)
    assert result.errors[0].exception_class_path == "shop.probes.Refused"
    assert result.errors[0].exception_class is probe("Refused")
    assert "raise Refused(text)" in result.errors[1].traceback
    with pytest.raises(ValueError, match="failed"):
        result.return_value  # noqa: B018


def test_a_task_that_exits_fails_and_its_worker_goes_on() -> None:
    result = ended(probe("leave").enqueue())
    assert (result.status, result.attempts) == ("FAILED", 2)
    assert [error.exception_class for error in result.errors] == [SystemExit, SystemExit]
    assert result.errors[0].traceback.endswith("SystemExit: bye\n")
    assert ended(probe("add").enqueue(1)).worker_ids == result.worker_ids[:1]


def test_a_result_that_is_refreshed_at_once_has_not_changed() -> None:
    result = probe("add").using(run_after=datetime.now(UTC) + timedelta(days=1)).enqueue([1], b={"c": None})
    before = dataclasses.asdict(result)
    result.refresh()
    assert dataclasses.asdict(result) == before
    backend().client().cancel(result.id)


def test_a_task_for_a_group_that_does_not_exist_has_failed_at_once(site: Path) -> None:
    options = {"config": site / "tako.toml"}
    with override_settings(
        TASKS={"default": {"BACKEND": "tako_lite.ext.django.TakoBackend", "QUEUES": [], "OPTIONS": options}}
    ):
        result = probe("add").using(queue_name="video").enqueue(1)
        assert result.status == "FAILED"
        result.refresh()
    assert (result.status, "video" in result.errors[0].traceback) == ("FAILED", True)


def test_a_task_that_succeeds_at_its_second_attempt_keeps_the_first_error() -> None:
    result = ended(probe("second_time").enqueue())
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 2, 2)
    assert [error.exception_class for error in result.errors] == [ValueError]


def test_a_value_that_json_cannot_represent_fails_the_task() -> None:
    result = ended(probe("not_json").enqueue())
    assert (result.status, result.errors[0].exception_class) == ("FAILED", TypeError)


@pytest.mark.parametrize("argument", [object(), {1, 2}.__iter__(), lambda: 0], ids=["object", "iterator", "function"])
def test_an_argument_that_json_cannot_represent_is_refused(argument: Any) -> None:
    with pytest.raises(TypeError):
        probe("add").enqueue(argument)
    with pytest.raises(TypeError):
        probe("add").enqueue(1, b=argument)


def test_a_task_that_is_invalid_is_refused_in_djangos_words() -> None:
    for options, words in (
        ({"queue_name": "video"}, "'video' is not valid"),
        ({"priority": 101}, "between -100 and 100"),
        ({"run_after": datetime(2030, 1, 1)}, "aware datetime"),
    ):
        with pytest.raises(Exception, match=words) as refused:
            probe("add").using(**options)
        assert type(refused.value).__name__ in ("InvalidTask", "InvalidTaskError")


def test_queue_priority_and_time_become_group_head_start_and_due_time() -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    task = probe("add").using(queue_name="email", priority=-100, run_after=due)
    result = task.enqueue(1)
    run = backend().client().get(result.id)
    assert (run["group"], run["priority"], run["state"]) == ("email", -600, "pending")
    assert datetime.fromisoformat(run["run_at"]) == due
    found = backend().get_result(result.id)
    assert (found.task, found.status) == (task, "READY")

    backend().client().cancel(result.id)
    result.refresh()
    assert result.status == "FAILED"


def test_an_unknown_result_does_not_exist() -> None:
    from tako_lite.ext.django.api import TaskResultDoesNotExist

    known = probe("add").enqueue(1)
    other = backend().client().enqueue("django-task", {"queue": "default", "backend": "second"}, delay="1h")
    for id in ("", "123", known.id[-12:], "01a00000-0000-7000-8000-000000000000", other.id):
        with pytest.raises(TaskResultDoesNotExist):
            backend().get_result(id)
    backend().client().cancel(other.id)


def test_the_result_of_another_task_is_a_mismatch() -> None:
    id = probe("add").enqueue(1).id
    with pytest.raises(Exception, match="does not match") as refused:
        probe("refuse").get_result(id)
    assert type(refused.value).__name__ == "TaskResultMismatch"


def test_a_task_is_stored_when_its_transaction_commits_and_not_before() -> None:
    from tako_lite.ext.django.api import TaskResultDoesNotExist, task_enqueued

    sent: list[str] = []
    listener: Any = lambda task_result, **_: sent.append(task_result.id)  # noqa: E731
    task_enqueued.connect(listener)
    with transaction.atomic():
        result = probe("add").enqueue(1)
        assert (result.enqueued_at, sent) == (None, [])
        with pytest.raises(TaskResultDoesNotExist):
            backend().get_result(result.id)
    assert sent == [result.id]
    assert result.enqueued_at is not None
    assert ended(result).return_value == 2


def test_a_rollback_or_that_of_a_savepoint_drops_the_task() -> None:
    from tako_lite.ext.django.api import TaskResultDoesNotExist

    results = []
    with pytest.raises(RuntimeError), transaction.atomic():
        results.append(probe("add").enqueue(1))
        raise RuntimeError
    with transaction.atomic():
        kept = probe("add").enqueue(1)
        with pytest.raises(RuntimeError), transaction.atomic():
            results.append(probe("add").enqueue(2))
            raise RuntimeError
    for result in results:
        with pytest.raises(TaskResultDoesNotExist):
            backend().get_result(result.id)
    assert ended(kept).status == "SUCCESSFUL"


def test_override_settings_replaces_the_backend_and_its_options(site: Path) -> None:
    def settings(backend: str = "tako_lite.ext.django.TakoBackend", **options: Any) -> Any:
        return override_settings(TASKS={"default": {"BACKEND": backend, "OPTIONS": options}})

    config = site / "tako.toml"
    with settings(config=config, enqueue_on_commit=False, retries=7, priority_seconds=1), transaction.atomic():
        result = probe("add").using(priority=3).enqueue(1)
        run = backend().client().get(result.id)
        assert (run["max_attempts"], run["priority"]) == (8, 3)
    with settings(config=config, queue="email"), pytest.raises(ImproperlyConfigured, match="'queue' is not an option"):
        backend()
    with settings(f"{tasks_module()}.backends.dummy.DummyBackend"):
        probe("add").enqueue(1)
        assert len(backend().results) == 1
    assert ended(probe("add").enqueue(2)).return_value == 3


def test_a_task_enqueues_another_one_and_signals_are_sent_in_the_worker(site: Path) -> None:
    first = ended(probe("follow_up").enqueue())
    assert ended(probe("add").get_result(first.return_value)).return_value == 42
    ended(probe("refuse").enqueue("for the signals"))
    assert (site / "signals.txt").read_text().splitlines()[-3:] == [
        "started TakoBackend refuse RUNNING 1",
        "started TakoBackend refuse RUNNING 2",
        "finished TakoBackend refuse FAILED 2",
    ]


def test_in_a_test_tasks_go_to_its_own_queue_and_are_executed_there(site: Path) -> None:
    from shop.models import Order
    from shop.tasks import confirm

    before = len(list(backend().client().runs()))
    with Tako(site) as tako:
        with transaction.atomic():
            order = Order.objects.create(email="ann@shop.example")
            result = confirm.enqueue(order.id)
            later = probe("add").using(run_after=tako.now + timedelta(days=1)).enqueue(1)
        tako.run_until_idle()
        result.refresh()
        later.refresh()
        assert (result.status, result.return_value, later.status) == ("SUCCESSFUL", "ann@shop.example", "READY")
        tako.advance("1d")
        tako.run_until_idle()
        later.refresh()
        assert later.return_value == 2
    assert len(list(backend().client().runs())) == before


def test_the_checks_name_what_is_missing_and_what_to_write(site: Path, tmp_path: Path) -> None:
    from tako_lite.ext.django.backend import TakoBackend

    def found(**options: Any) -> dict[str, str]:
        checked = TakoBackend("default", {"QUEUES": ["default", "email", "video"], "OPTIONS": options})
        return {message.id: f"{message.msg}\n{message.hint}" for message in checked.check()}

    assert found(config=site / "tako.toml").keys() == {"tako_lite.E003"}
    assert "[workflows.video]" in found(config=site / "tako.toml")["tako_lite.E003"]
    assert found(config=site / "nowhere.toml").keys() == {"tako_lite.E001"}
    assert "return run_task(payload, step)" in found(config=site / "tako.toml", workflow="other")["tako_lite.E002"]

    (tmp_path / "tako.toml").write_text(
        '[workflows]\nsetup = "tako_lite.ext.django:setup"\n[workflows.email]\nenv = { DJANGO_SETTINGS_MODULE = "x" }\n'
    )
    other = found(config=tmp_path)
    assert "DJANGO_SETTINGS_MODULE" in other["tako_lite.W002"]
    assert "no daemon" in other["tako_lite.W001"]


def test_manage_py_tako_is_the_command_line_of_the_project(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ended(probe("add").enqueue(1))
    shown = subprocess.run(
        [sys.executable, site / "manage.py", "tako", "show", result.id, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"state": "succeeded"' in shown.stdout

    call_command("tako", "show", result.id)
    assert result.id in capsys.readouterr().out
    with pytest.raises(CommandError) as failed:
        call_command("tako", "show", "01a00000")
    assert failed.value.returncode == 5
