"""`tako_lite.ext.fastapi`, and its example."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tako_lite.client import Client
from tako_lite.client.project import Project as ClientProject
from tako_lite.errors import BadInput, TakoError
from tako_lite.ext.fastapi import BlockingTakoDep, Tako, TakoDep, get_blocking_client, get_client
from tako_lite.records import Enqueued
from tako_lite.testing import Tako as Kit
from tako_lite.web import User
from tests.support.example_app import copy_example, wait_for_run, web_server
from tests.support.project import Project

GREET = '@workflow("greet")\ndef greet(name: str) -> str:\n    return f"hello {name}"\n'


def application(tako: Tako) -> FastAPI:
    app = FastAPI(lifespan=tako.lifespan)

    @app.post("/greet/{name}")
    async def greet(name: str, tako: TakoDep) -> dict[str, str]:
        return {"run": (await tako.enqueue("greet", name)).id}

    @app.post("/blocking/{name}")
    def greet_blocking(name: str, tako: BlockingTakoDep) -> dict[str, str]:
        return {"run": tako.enqueue("greet", name).id}

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, tako: TakoDep) -> None:
        await websocket.accept()
        await websocket.send_text((await tako.enqueue("greet", "socket")).id)
        await websocket.close()

    return app


def test_endpoints_of_all_kinds_enqueue_through_the_injected_client(live: Project) -> None:
    live.add("greet.py", GREET)
    with TestClient(application(Tako(live.root))) as client:
        ids = [client.post("/greet/ann").json()["run"], client.post("/blocking/bob").json()["run"]]
        with client.websocket_connect("/socket") as socket:
            ids.append(socket.receive_text())
    assert [live.wait(id)["result"] for id in ids] == ["hello ann", "hello bob", "hello socket"]


def test_a_plain_starlette_application_has_the_same_clients(live: Project) -> None:
    live.add("greet.py", GREET)

    async def greet(request: Request) -> PlainTextResponse:
        blocking = await run_in_threadpool(get_blocking_client(request).enqueue, "greet", "bob")
        return PlainTextResponse(f"{(await get_client(request).enqueue('greet', 'ann')).id} {blocking.id}")

    app = Starlette(routes=[Route("/", greet)], lifespan=Tako(live.root).lifespan)
    with TestClient(app) as client:
        ids = client.get("/").text.split()
    assert [live.wait(id)["result"] for id in ids] == ["hello ann", "hello bob"]


def test_a_mounted_application_gets_the_client_of_the_outer_one(live: Project) -> None:
    live.add("greet.py", GREET)
    outer = FastAPI(lifespan=Tako(live.root).lifespan)
    outer.mount("/inner", application(Tako("unused")))
    with TestClient(outer) as client:
        assert live.wait(client.post("/inner/greet/ann").json()["run"])["state"] == "succeeded"


def test_the_lifespan_of_the_application_is_inside_and_keeps_its_state(live: Project) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await app.state.tako.client.status()
        events.append("begun")
        yield {"colour": "red"}
        await app.state.tako.client.status()
        events.append("ended")

    app = FastAPI(lifespan=Tako(live.root, lifespan=own).lifespan)

    @app.get("/")
    async def colour(request: Request) -> str:
        return str(request.state.colour)

    with TestClient(app) as client:
        assert client.get("/").json() == "red"
    assert events == ["begun", "ended"]


def test_a_test_replaces_the_client_by_dependency_overrides() -> None:
    class Fake:
        async def enqueue(self, workflow: str, payload: Any) -> Enqueued:
            return Enqueued(f"{workflow} {payload}", "pending", "default")

    app = application(Tako("unused"))
    app.dependency_overrides[get_client] = Fake
    assert TestClient(app).post("/greet/ann").json() == {"run": "greet ann"}


def test_in_a_test_runs_go_to_its_own_queue_and_are_executed_there(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "greet.py").write_text(f"from tako_lite import workflow\n\n\n{GREET}")
    (tmp_path / "tako.toml").touch()
    with Kit(tmp_path) as kit, TestClient(application(Tako(tmp_path))) as client:
        ids = [client.post("/greet/ann").json()["run"], client.post("/blocking/bob").json()["run"]]
        kit.run_until_idle()
        assert {run.id: run.result for run in kit.runs()} == dict(zip(ids, ["hello ann", "hello bob"], strict=True))
    assert list(Client(tmp_path).runs()) == []


def test_an_application_without_a_project_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(TakoError, match="does not exist"), TestClient(application(Tako(tmp_path / "tako.toml"))):
        pass
    (tmp_path / "tako.toml").write_text("nmae = 1\n")
    with pytest.raises(TakoError, match="did you mean `name`"), TestClient(application(Tako(tmp_path))):
        pass
    with pytest.raises(BadInput, match="'always' is neither 'never' nor 'dev'"):
        Tako(serve="always")  # type: ignore[arg-type]


def test_an_endpoint_without_the_lifespan_says_what_is_missing() -> None:
    with pytest.raises(TakoError) as error:
        TestClient(application(Tako("unused"))).post("/greet/ann")
    assert "with TestClient(app)" in (error.value.hint or "")


def test_the_dashboard_is_mounted_with_the_visitors_of_the_application(live: Project) -> None:
    tako = Tako(live.root)
    app = application(tako)
    app.mount("/tako", tako.dashboard(user=lambda request: User("ann") if "x-ann" in request.headers else None))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/tako/runs").status_code == 403
        assert "Runs" in client.get("/tako/runs", headers={"x-ann": "1"}).text


def test_the_example_serves_its_own_daemon_in_development_and_ends_it(tmp_path: Path) -> None:
    folder = copy_example("fastapi", tmp_path)
    with web_server(folder, "-m", "uvicorn", "app:app", "--port", "{port}") as client:
        reply = client.post("/signups", json={"email": "ann@shop.example", "name": "Ann"})
        assert reply.status_code == 202
        run = wait_for_run(client, f"/runs/{reply.json()['run']}")
        assert run == {"state": "succeeded", "result": "welcomed Ann"}
        assert client.get("/runs/01a00000-0000-7000-8000-000000000000").status_code == 404
    assert not ClientProject(folder).has_daemon()
    assert Client(folder).status()["daemon"] is None
