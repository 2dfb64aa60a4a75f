"""The backend: enqueues tasks as runs of the bridge workflow, and reads their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from django.db import connections

from tako_lite.client import Client, link
from tako_lite.errors import BadInput, NotFound
from tako_lite.ext.django.api import BaseTaskBackend, TaskResultDoesNotExist, normalize_json, task_enqueued
from tako_lite.ext.django.checks import check_backend
from tako_lite.ext.django.options import read_options
from tako_lite.ext.django.payload import due_time, payload_of
from tako_lite.ext.django.results import STATUS, enqueued_at, new_result, result_of
from tako_lite.records import new_id


class TakoBackend(BaseTaskBackend):
    """`"BACKEND": "tako_lite.ext.django.TakoBackend"`. `QUEUES` are worker groups; `Options` says what `OPTIONS` may have."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.tako = read_options(alias, self.options)

    def enqueue(self, task: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        """Store the task, or have the transaction store it on commit; the id of the result is valid at once.

        Raises InvalidTask, TypeError for an argument that JSON cannot represent, and the errors of `Client.enqueue`.
        """
        self.validate_task(task)
        payload = payload_of(task, normalize_json(list(args)), normalize_json(dict(kwargs)))
        result = new_result(new_id(), task, payload)
        send = partial(self._send, result, payload)
        if (database := self._waits_for()) is not None:
            connections[database].on_commit(send)
        else:
            send()
        return result

    def get_result(self, result_id: str) -> Any:
        """The result of a task. Raises TaskResultDoesNotExist; one that waits for its commit does not exist yet."""
        try:
            run = self.client().get(str(result_id))
        except (NotFound, BadInput):
            raise TaskResultDoesNotExist(result_id) from None
        if run["id"] != str(result_id) or run["workflow"] != self.tako.workflow or run["payload"]["backend"] != self.alias:
            raise TaskResultDoesNotExist(result_id)
        return result_of(run)

    def check(self, **kwargs: Any) -> Iterable[Any]:
        """The findings of `manage.py check` about this backend."""
        yield from super().check(**kwargs)
        yield from check_backend(self.alias, self.queues, self.tako)

    def client(self) -> Client:
        """The client of the project; in a worker it uses the worker's link."""
        return _client(None if link.current() else self.tako.config)

    def _waits_for(self) -> str | None:
        """The database whose transaction the task waits for; None if it is stored at once."""
        chosen = self.tako.enqueue_on_commit
        if chosen is False:
            return None
        database = "default" if chosen is True else chosen
        return database if connections[database].in_atomic_block else None

    def _send(self, result: Any, payload: Any) -> None:
        task = result.task
        enqueued = self.client().enqueue(
            self.tako.workflow,
            payload,
            id=result.id,
            at=due_time(task),
            priority=task.priority * self.tako.priority_seconds,
            retries=self.tako.retries,
        )
        object.__setattr__(result, "enqueued_at", enqueued_at(result.id))
        object.__setattr__(result, "status", STATUS[enqueued.state])  # one that no group may run has failed already
        task_enqueued.send(type(self), task_result=result)


@cache
def _client(config: str | Path | None) -> Client:
    return Client(config, source="django")
