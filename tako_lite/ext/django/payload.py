"""What the bridge workflow gets as its payload: a task and its arguments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from tako_lite.errors import BadInput
from tako_lite.ext.django.api import Task


class TaskPayload(TypedDict):
    """The payload. `task` is the dotted path of the task; `queue` is also what the template of the worker group reads."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    backend: str
    priority: int
    run_after: str | None


def payload_of(task: Any, args: list[Any], kwargs: dict[str, Any]) -> TaskPayload:
    """The payload for a task and its arguments, which are JSON already."""
    due = due_time(task)
    return TaskPayload(
        task=task.module_path,
        args=args,
        kwargs=kwargs,
        queue=task.queue_name,
        backend=task.backend,
        priority=task.priority,
        run_after=None if due is None else due.isoformat(),
    )


def task_of(payload: TaskPayload) -> Any:
    """The task of a payload, as it was enqueued. Raises ImportError if the code no longer has it, and BadInput."""
    found = import_string(payload["task"])
    if not isinstance(found, Task):
        raise BadInput(f"{payload['task']} is not a task", hint="decorate it with @task")
    due = None if payload["run_after"] is None else datetime.fromisoformat(payload["run_after"])
    if due is not None and not settings.USE_TZ:
        due = timezone.make_naive(due)
    return found.using(
        priority=payload["priority"], queue_name=payload["queue"], run_after=due, backend=payload["backend"]
    )  # fmt: skip


def due_time(task: Any) -> datetime | None:
    """When a task is due, with a time zone; None for at once."""
    due: datetime | None = task.run_after
    return due if due is None or timezone.is_aware(due) else timezone.make_aware(due)
