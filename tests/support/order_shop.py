"""A project whose queue is in the database of the application, beside its table of orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tako_lite.client import Client, transactional
from tako_lite.records import new_id
from tests.support.backends import PostgresBackend
from tests.support.postgres import Database
from tests.support.project import Project, wait_until

WORKFLOWS: Final = """
    from tako_lite import workflow

    @workflow("order")
    def order(payload):
        return payload

    @workflow("limited", limit=1)
    def limited(payload):
        return payload

    @workflow("by-tier", worker="{tier}")
    def by_tier(payload):
        return payload

    @workflow("report", on_dead="by-tier")
    def report(payload):
        return payload["run_id"]
"""
CONFIGURATION: Final = """
    [workflows.gold]
    allowed_tenants = ["acme"]

    [tenants.acme]
    [tenants.other]
"""


class Shop(Project):
    """The project, with what a test asks about its database."""

    backend: PostgresBackend

    @property
    def schema(self) -> str:
        return self.backend.schema(self.root)

    def orders(self) -> list[str]:
        """The orders that are committed."""
        return [name for (name,) in self.backend.database.execute("SELECT name FROM orders ORDER BY name")]

    def states(self, *ids: str) -> list[str | None]:
        """The states of runs, None for one that is not in the queue."""
        with Client(self.root) as client:
            found = {run["id"]: run["state"] for run in client.runs()}
        return [found.get(id) for id in ids]

    def wait_for_lock(self) -> None:
        """Wait until a session of the database waits for another one's transaction."""
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: self.backend.database.execute(waiting), "a session waits for another one")

    def row(self, id: str) -> dict[str, Any]:
        """All columns of a run."""
        (found,) = self.backend.execute(self.root, f"SELECT row_to_json(runs) FROM runs WHERE id = '{id}'")
        return dict(found[0])


@contextmanager
def open_shop(database: Database, folder: Path) -> Iterator[Shop]:
    """A shop without a daemon; its schema exists."""
    shop = Shop(folder, PostgresBackend(database))
    shop.configure(CONFIGURATION)
    shop.workflow("shop.py", WORKFLOWS)
    with Client(folder) as client:
        client.cancel(new_id())  # makes the schema
    database.execute("DROP TABLE IF EXISTS orders; CREATE TABLE orders (name text PRIMARY KEY)")
    transactional._notified.clear()
    yield shop
    database.execute("DROP TABLE orders")
    shop.backend.forget(folder)
