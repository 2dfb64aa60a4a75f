"""`tako_lite.ext.litestar`, and its example."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("litestar")

from click.testing import CliRunner
from litestar import Litestar, post
from litestar.params import FromPath
from litestar.testing import TestClient

from tako_lite.client.project import Project as ClientProject
from tako_lite.ext.litestar import BlockingTakoDep, TakoDep, TakoPlugin
from tests.support.example_app import copy_example, wait_for_run, web_server
from tests.support.project import Project

GREET = '@workflow("greet")\ndef greet(name: str) -> str:\n    return f"hello {name}"\n'


@post("/greet/{name:str}")
async def greet(name: FromPath[str], tako: TakoDep) -> str:
    return (await tako.enqueue("greet", name)).id


@post("/blocking/{name:str}", sync_to_thread=True)
def greet_blocking(name: FromPath[str], blocking_tako: BlockingTakoDep) -> str:
    return blocking_tako.enqueue("greet", name).id


def test_handlers_of_both_kinds_enqueue_through_their_dependency(live: Project) -> None:
    live.add("greet.py", GREET)
    with TestClient(Litestar([greet, greet_blocking], plugins=[TakoPlugin(live.root)])) as client:
        ids = [client.post("/greet/ann").text, client.post("/blocking/bob").text]
    assert [live.wait(id)["result"] for id in ids] == ["hello ann", "hello bob"]


def test_an_application_without_a_project_does_not_start(tmp_path: Path) -> None:
    app = Litestar([greet], plugins=[TakoPlugin(tmp_path / "tako.toml")])
    with pytest.raises(ExceptionGroup) as failed, TestClient(app):
        pass
    assert "does not exist" in str(failed.value.exceptions[0])


def test_litestar_tako_is_the_command_line_of_the_project(live: Project) -> None:
    from litestar.cli._utils import LitestarGroup

    live.add("greet.py", GREET)
    group = LitestarGroup("litestar")
    TakoPlugin(live.root).on_cli_init(group)
    enqueued = CliRunner().invoke(group, ["tako", "enqueue", "greet", "--wait", "--json", '"ann"'], obj=lambda: None)
    assert '"result": "hello ann"' in enqueued.output


def test_the_example_serves_its_daemon_and_the_dashboard(tmp_path: Path) -> None:
    folder = copy_example("litestar", tmp_path)
    with web_server(folder, "-m", "uvicorn", "app:app", "--port", "{port}") as client:
        run = client.post("/signups", json={"email": "ann@shop.example", "name": "Ann"}).json()["run"]
        assert wait_for_run(client, f"/runs/{run}") == {"state": "succeeded", "result": "welcomed Ann"}
        page = client.get(f"/tako/runs/{run}")
        assert (page.status_code, "welcomed Ann" in page.text, "/tako/-/assets/" in page.text) == (200, True, True)
        assert client.get("/tako/").status_code == 200
        assert client.get("/tako/runs").status_code == 200
    assert not ClientProject(folder).has_daemon()
