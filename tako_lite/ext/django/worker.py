"""The worker's side: prepares Django in a worker, and executes tasks there."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

import django
from asgiref.sync import sync_to_async
from django.conf import ENVIRONMENT_VARIABLE
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, reset_queries
from django.utils import timezone

from tako_lite import hooks
from tako_lite.ext.django.api import TaskContext, TaskError, TaskResultStatus, normalize_json, task_finished, task_started
from tako_lite.ext.django.payload import TaskPayload, task_of
from tako_lite.ext.django.results import enqueued_at, new_result, worker_id

if TYPE_CHECKING:
    from tako_lite.blocking import BlockingStep

P = ParamSpec("P")
R = TypeVar("R")
_run: Final[ContextVar[hooks.RunInfo | None]] = ContextVar("tako_lite_django_run", default=None)


def setup() -> None:
    """Prepare Django in a worker; name it in tako.toml: `setup = "tako_lite.ext.django:setup"`.

    Raises ImproperlyConfigured if the worker does not know the settings module.
    """
    if ENVIRONMENT_VARIABLE not in os.environ:
        raise ImproperlyConfigured(
            f'the worker has no {ENVIRONMENT_VARIABLE}; add env = {{ {ENVIRONMENT_VARIABLE} = "mysite.settings" }} '
            "to [workflows] of tako.toml"
        )
    django.setup()
    hooks.around(_note_run)


async def _note_run(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
    _run.set(run)
    return await proceed()


def run_task(payload: TaskPayload, step: BlockingStep) -> Any:
    """Execute the task of a payload, and return its value: all that the bridge workflow does.

    `task_started` is sent at each attempt, `task_finished` after the last one. Database connections are checked before and
    after, as around a request.
    """
    from tako_lite.ext.django.api import task_backends

    with _connections():
        task = task_of(payload)
        backend = type(task_backends[task.backend])
        result = _started(step, task, payload)
        task_started.send(sender=backend, task_result=result)
        context = [TaskContext(task_result=result)] if task.takes_context else []
        try:
            value = normalize_json(task.call(*context, *payload["args"], **payload["kwargs"]))
        except (Exception, SystemExit) as error:
            if _is_last(step):
                result.errors.append(_task_error(error))
                _finish(result, TaskResultStatus.FAILED, None, backend)
            raise
        _finish(result, TaskResultStatus.SUCCESSFUL, value, backend)
        return value


def fresh_connections(function: Callable[P, R]) -> Callable[P, R]:
    """Check the database connections before and after a function, as Django does around a request.

    For handlers of workflows, and functions of `step.run`, that use the ORM. Write it below `@workflow`.
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            await sync_to_async(_open)()
            try:
                return await function(*args, **kwargs)
            finally:
                await sync_to_async(close_old_connections)()

        return cast("Callable[P, R]", awaited)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with _connections():
            return function(*args, **kwargs)

    return called


@contextmanager
def _connections() -> Iterator[None]:
    _open()
    try:
        yield
    finally:
        close_old_connections()


def _open() -> None:
    reset_queries()
    close_old_connections()


def _started(step: BlockingStep, task: Any, payload: TaskPayload) -> Any:
    """The result of a task whose attempt begins now."""
    now = timezone.now()
    return new_result(
        step.run_id,
        task,
        payload,
        TaskResultStatus.RUNNING,
        enqueued_at=enqueued_at(step.run_id),
        started_at=now,
        last_attempted_at=now,
        worker_ids=[worker_id(os.uname().nodename, os.getpid())] * step.attempt,
    )


def _is_last(step: BlockingStep) -> bool:
    run = _run.get()
    return run is None or step.attempt >= run.max_attempts


def _task_error(error: BaseException) -> Any:
    from traceback import format_exception

    kind = type(error)
    return TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback="".join(format_exception(error))
    )  # fmt: skip


def _finish(result: Any, status: Any, value: Any, backend: type) -> None:
    object.__setattr__(result, "finished_at", timezone.now())
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "_return_value", value)
    task_finished.send(sender=backend, task_result=result)
