"""A client that tells the witness what it asked for, and what it was told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tako_lite.client import Client
from tako_lite.client.requests import Ids
from tako_lite.records import Enqueued
from tako_lite.states import TERMINAL
from tests.support.event_log import LOG, EventLog, as_logged


class RecordingClient(Client):
    """The client of a project in a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._witness = EventLog(root / LOG)

    def enqueue(self, workflow: Any, payload: Any = None, **options: Any) -> Enqueued:
        made = super().enqueue(workflow, payload, **options)
        self._witness.write("acked", run=made.id)
        return made

    def enqueue_many(self, workflow: Any, payloads: Iterable[Any], **options: Any) -> Ids:
        ids = super().enqueue_many(workflow, payloads, **options)
        self._witness.write("acked_many", runs=ids)
        return ids

    def cancel(self, *ids: str) -> dict[str, str]:
        outcomes = super().cancel(*ids)
        for run_id, outcome in outcomes.items():
            self._witness.write("cancel", run=run_id, outcome=outcome)
        return outcomes

    def retry(self, *ids: str, fresh: bool = False) -> dict[str, str]:
        for run_id in ids:  # before the answer: the attempt may be quicker
            self._witness.write("retried", run=run_id, fresh=fresh)
        return super().retry(*ids, fresh=fresh)

    def get(self, id: str) -> dict[str, Any]:
        return self._seen(super().get(id))

    def wait(self, id: str, timeout: Any = None) -> dict[str, Any]:
        return self._seen(super().wait(id, timeout))

    def _seen(self, run: dict[str, Any]) -> dict[str, Any]:
        if run["state"] in TERMINAL:
            facts = {key: as_logged(run[key]) for key in ("state", "result", "attempts")}
            self._witness.write("ended", run=run["id"], **facts)
        return run
