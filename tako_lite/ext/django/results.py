"""A run as the `TaskResult` of Django."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from tako_lite import errors
from tako_lite.ext.django.api import TaskError, TaskResult, TaskResultStatus
from tako_lite.ext.django.payload import TaskPayload, task_of

STATUS: Final = {
    "pending": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "waiting": TaskResultStatus.RUNNING,
    "succeeded": TaskResultStatus.SUCCESSFUL,
    "dead": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}


def new_result(id: str, task: Any, payload: TaskPayload, status: Any = TaskResultStatus.READY, **known: Any) -> Any:
    """The result of a task that has not ended."""
    times = dict.fromkeys(("enqueued_at", "started_at", "finished_at", "last_attempted_at"))
    return TaskResult(
        task=task,
        id=id,
        status=status,
        args=payload["args"],
        kwargs=payload["kwargs"],
        backend=payload["backend"],
        **{"errors": [], "worker_ids": [], **times, **known},
    )


def result_of(run: Mapping[str, Any]) -> Any:
    """The result of a run, as `show` has it. Raises ImportError if the code no longer has its task."""
    payload: TaskPayload = run["payload"]
    attempts = [entry for entry in run["history"] if entry["step"] is None]
    failures = [entry["error"] for entry in attempts if entry["error"] is not None]
    workers = [worker_id(entry["server"], entry["worker_pid"]) for entry in attempts if entry["worker_pid"] is not None]
    if run["state"] in ("running", "succeeded") and run["worker_pid"] is not None and _has_new_attempt(run, attempts):
        workers.append(worker_id(run["server"], run["worker_pid"]))
    result = new_result(
        run["id"],
        task_of(payload),
        payload,
        STATUS[run["state"]],
        enqueued_at=enqueued_at(run["id"]),
        started_at=_time(run["started_at"]),
        finished_at=_time(run["finished_at"]),
        last_attempted_at=_time(run["claimed_at"]),
        errors=[_task_error(failure) for failure in failures or [run["error"]] if failure is not None],
        worker_ids=workers,
    )
    if run["state"] == "succeeded":
        object.__setattr__(result, "_return_value", run["result"])
    return result


def enqueued_at(run_id: str) -> datetime:
    """When a run was enqueued: its id is a UUIDv7, which begins with the time."""
    return _in_settings_zone(datetime.fromtimestamp(int(run_id.replace("-", "")[:12], 16) / 1000, UTC))


def worker_id(server: str | None, pid: int) -> str:
    """How a worker is called in `worker_ids`."""
    return f"{server}:{pid}"


def _has_new_attempt(run: Mapping[str, Any], attempts: list[Any]) -> bool:
    """Whether the last claim is an attempt that the history does not have: it succeeded at once, or is under way."""
    return not attempts or bool(attempts[-1]["started_at"] != run["claimed_at"])


def _task_error(failure: Mapping[str, Any]) -> Any:
    text = failure["traceback"] or f"{failure['type']}: {failure['message']}\n"
    return TaskError(exception_class_path=_class_path(failure["type"], text), traceback=text)


def _class_path(name: str, traceback: str) -> str:
    """The dotted path of an exception's class; its module stands in the traceback, except for built-in ones."""
    named = re.findall(rf"^((?:[\w<>]+\.)+{re.escape(name)})(?::|$)", traceback, re.MULTILINE)
    if named:
        return str(named[-1])
    if isinstance(getattr(builtins, name, None), type):
        return f"builtins.{name}"
    return f"tako_lite.errors.{name if hasattr(errors, name) else 'TakoError'}"


def _time(text: str | None) -> datetime | None:
    return None if text is None else _in_settings_zone(datetime.fromisoformat(text))


def _in_settings_zone(moment: datetime) -> datetime:
    """Aware, or naive where the settings have no time zones, as Django's own times are."""
    return moment if settings.USE_TZ else timezone.make_naive(moment)
