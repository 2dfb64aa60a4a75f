"""A server of the release that knew schema 1 alone: its statements as they were, executed without the program around them."""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg

from tako_lite.records import new_id, new_ids
from tako_lite.store.postgres import migrate
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import connect, writer_settings
from tako_lite.store.postgres.transaction import PostgresTransaction
from tako_lite.store.sql import Statement

SCHEMA: Final = 1
_BLOCK: Final = re.compile(r"-- name: (\w+)\n(.*?)(?=\n-- name: |\Z)", re.DOTALL)
SQL: Final = {
    name: Statement(text.strip().rstrip(";"))
    for name, text in _BLOCK.findall(Path(__file__).with_name("schema_1.sql").read_text())
}
NOW: Final = 1_700_000_000_000
JOIN: Final = """
    INSERT INTO servers (boot_id, server_id, name, host, program, lease, renewed_at, joined_at)
    VALUES (%s, %s, %s, 'here', '0.1.0', interval '1 hour', clock_timestamp(), 0)
"""
BATCH: Final = 5
STEP: Final = {
    "name": "a", "kind": "run", "state": "succeeded", "value": "1", "error": None, "tries": 1,
    "started_at": NOW, "finished_at": NOW,
}  # fmt: skip


def make_schema(address: Address) -> None:
    """Make the schema of that release."""
    with closing(connect(address, "old", {})) as connection:
        migrate._migrate(connection, address.schema, [step for step in migrate.known() if step.number <= SCHEMA])


class OlderServer(threading.Thread):
    """Enqueues, claims, stores steps, re-queues and completes, until it is stopped or a statement fails."""

    def __init__(self, address: Address, name: str) -> None:
        super().__init__(name=name)
        self.error: psycopg.Error | None = None
        self.rounds = 0
        self.enqueued: list[str] = []
        self._address = address
        self._boot_id = new_id()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the round under way."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            with closing(connect(self._address, self.name, writer_settings("process"))) as connection:
                connection.execute(JOIN, [self._boot_id, self.name, self.name])
                while not self._stopping.is_set():
                    self._round(connection)
                    self.rounds += 1
        except psycopg.Error as error:
            self.error = error

    def _round(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        constants = {"server": self.name, "boot_id": self._boot_id, "elsewhere": "[]"}
        ids = new_ids(BATCH)
        with connection.transaction():
            transaction = PostgresTransaction(connection, NOW, constants)
            transaction.execute(SQL["insert_many"], **_like(ids))
            claimed = transaction.fetch(SQL["claim"], _claim())
        self.enqueued += ids
        for number, (_, id, _, token, *_) in enumerate(claimed):
            with connection.transaction():
                transaction = PostgresTransaction(connection, NOW, constants)
                transaction.fetch(SQL["select_steps"], {"run_id": id})
                transaction.execute(SQL["save"], run_id=id, token=token, **STEP)
                if number == 0 and token == 1:
                    transaction.execute(SQL["requeue"], id=id, token=token, now=NOW, hold=None, executed_ms=1)
                else:
                    transaction.execute(SQL["complete"], id=id, token=token, result="1", pid=1, now=NOW)


def _like(ids: list[str]) -> dict[str, object]:
    nothing = dict.fromkeys(("parent", "tenant", "fallback", "fallback_source", "limit_key", "rate_key", "trace"))
    return {
        **nothing, "rows": json.dumps([[id, "{}"] for id in ids]),
        "workflow": "work", "group": "default", "group_source": "default",
        "run_at": NOW, "priority": 0, "max_attempts": 3, "now": NOW, "due_by": NOW,
    }  # fmt: skip


def _claim() -> dict[str, object]:
    return {"group": "default", "hold": None, "limit": BATCH, "allowed": None, "now": NOW}
