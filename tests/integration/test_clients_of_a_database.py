"""Clients on a machine without a daemon, of a queue in PostgreSQL that a server elsewhere may serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable
from tests.support.backends import PostgresBackend
from tests.support.fixtures import served
from tests.support.order_shop import CONFIGURATION, WORKFLOWS, Shop, open_shop
from tests.support.postgres import Database
from tests.support.project import Project, wait_until

pytestmark = pytest.mark.postgres


class SameSchema(PostgresBackend):
    """The queue of another folder."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.backend.database)
        self._name = shop.schema

    def schema(self, folder: object) -> str:
        return self._name


@pytest.fixture(scope="module")
def shop(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(database, tmp_path_factory.mktemp("shop")) as shop:
        yield from served(shop)  # type: ignore[misc]


@pytest.fixture(scope="module")
def elsewhere(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project on a machine of its own, in whose folder no daemon runs."""
    project = Project(tmp_path_factory.mktemp("elsewhere"), SameSchema(shop))
    project.configure(CONFIGURATION)
    project.workflow("shop.py", WORKFLOWS)
    return project


def test_without_any_server_a_client_says_so(shop: Shop, elsewhere: Project) -> None:
    with Client(elsewhere.root) as client:
        made = client.enqueue("order", 1)
        assert made.warning == "no server of the queue is live; the run starts when `tako-lite serve` runs on some machine"
        assert client.status()["servers"] == []
        with pytest.raises(DaemonUnreachable, match="no daemon is running"):
            client.call("reload")
        client.cancel(made.id)


def test_a_server_elsewhere_starts_what_a_client_enqueues(shop: Shop, elsewhere: Project) -> None:
    shop.serve()
    with Client(elsewhere.root) as client:
        made = client.enqueue("order", 7)
        assert made.warning is None
        assert client.wait(made.id, 15)["result"] == 7
        ids = client.enqueue_many("limited", [1, 2])
        assert [client.wait(id, 15)["state"] for id in ids] == ["succeeded"] * 2
        delayed = client.enqueue("order", 8, delay=0.5)
        assert client.wait(delayed.id, 15)["result"] == 8


def test_commands_about_rows_work_from_anywhere(shop: Shop, elsewhere: Project) -> None:
    assert elsewhere.command("pause", "gold").returncode == 0
    with Client(elsewhere.root) as client:
        id = client.enqueue("by-tier", {"tier": "gold"}, tenant="acme").id
        assert "gold is paused" in client.call("why", run_id=id)["sentence"]
        state = wait_until(
            lambda: [g["state"] for g in shop.call("status")["groups"] if g["name"] == "gold"] == ["paused"], "paused"
        )
        assert state
        assert elsewhere.command("resume", "gold").returncode == 0
        assert client.wait(id, 15)["state"] == "succeeded"
        assert elsewhere.command("scale", "gold", "2").returncode == 0
        wait_until(lambda: [g["min_workers"] for g in shop.call("status")["groups"] if g["name"] == "gold"] == [2], "scaled")
        status = client.status()
        assert [server["name"] for server in status["servers"]] == ["here"]
        assert {tuple(group["servers"]) for group in status["groups"]} == {("here",)}
    shown = elsewhere.command("status")
    assert "no daemon on this machine; here serves the queue" in shown.stdout


def test_enqueue_waits_for_a_run_on_a_server_elsewhere(shop: Shop, elsewhere: Project) -> None:
    done = elsewhere.command("enqueue", "order", "5", "--wait")
    assert done.returncode == 0, done.stderr
    assert "5" in done.stdout
