"""A client without a daemon keeps its connections to the database, and makes them anew where they are lost."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite import Client
from tests.support.backends import PostgresBackend
from tests.support.postgres import Database
from tests.support.project import Project, wait_until

SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tako client' AND datname = current_database()"
WORKFLOWS = """
@workflow("quick")
async def quick(payload):
    return payload
"""


@pytest.fixture
def offline(tmp_path: Path, postgres_backend: PostgresBackend) -> Iterator[Project]:
    """A project without a daemon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # clients that other tests left open
    made = Project(tmp_path, postgres_backend)
    made.configure("")
    made.workflow("a.py", WORKFLOWS)
    yield made
    postgres_backend.forget(tmp_path)


def sessions(database: Database) -> set[int]:
    return {pid for (pid,) in database.execute(SESSIONS)}


def test_every_call_of_a_client_uses_the_same_connections_until_it_is_closed(offline: Project, database: Database) -> None:
    with Client(offline.root) as client:
        others = sessions(database)
        for _ in range(5):
            client.get(client.enqueue("quick").id)
        kept = sessions(database) - others
        assert len(kept) == 2, "one that writes, one that reads"
        client.get(client.enqueue("quick").id)
        assert sessions(database) - others == kept
    wait_until(lambda: sessions(database) <= others, "they are closed")
    assert client.enqueue("quick").state == "pending"
    del client
    gc.collect()
    wait_until(lambda: sessions(database) <= others, "they are closed with the client")


def test_a_connection_that_the_server_ended_between_two_calls_is_made_anew(offline: Project, database: Database) -> None:
    with Client(offline.root) as client:
        for _ in range(3):
            made = client.enqueue("quick")
            assert client.get(made.id)["state"] == "pending"
            database.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM ({SESSIONS}) AS ours")


def test_threads_share_a_client_and_few_connections_stay_open(offline: Project, database: Database) -> None:
    with Client(offline.root) as client:
        others = sessions(database)
        ids: list[str] = []
        threads = [threading.Thread(target=lambda: ids.extend(client.enqueue("quick").id for _ in range(5))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(ids)) == 60
        wait_until(lambda: len(sessions(database) - others) <= 8, "four that write and four that read stay")


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(offline: Project, database: Database) -> None:
    with Client(offline.root) as client:
        client.enqueue("quick")
        kept = sessions(database)
        child = os.fork()
        if child == 0:
            try:
                client.enqueue("quick")
                client.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert sessions(database) >= kept
        client.enqueue("quick")
        assert sessions(database) == kept
        assert len(list(client.runs())) == 3


def test_a_schema_that_was_dropped_between_two_calls_is_made_again(
    offline: Project, database: Database, postgres_backend: PostgresBackend
) -> None:
    with Client(offline.root) as client:
        client.enqueue("quick")
        database.drop_schema(postgres_backend.schema(offline.root))
        assert list(client.runs()) == []
        assert client.enqueue("quick").state == "pending"
