"""`tako_lite.ext.flask`, and its example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("flask")

from flask import Flask

from tako_lite.errors import TakoError
from tako_lite.ext.flask import Tako
from tests.support.example_app import copy_example, program, wait_for_run, web_server
from tests.support.project import Project

GREET = '@workflow("greet")\ndef greet(name: str) -> str:\n    return f"hello {name}"\n'


def application(tako: Tako, **settings: object) -> Flask:
    app = Flask("shop")
    app.config.update(settings)
    tako.init_app(app)
    app.add_url_rule("/greet/<name>", "greet", lambda name: tako.client.enqueue("greet", name).id, methods=["POST"])
    return app


def test_one_extension_serves_applications_of_several_projects(live: Project, tmp_path: Path) -> None:
    live.add("greet.py", GREET)
    other = Project(tmp_path)
    other.workflow("greet.py", GREET)
    tako = Tako(config=live.root)
    ids = [app.test_client().post("/greet/ann").text for app in (application(tako), application(tako, TAKO_CONFIG=other.root))]
    assert live.wait(ids[0])["result"] == "hello ann"
    assert other.get(ids[1])["state"] == "pending"


def test_an_application_without_the_extension_says_what_is_missing() -> None:
    with Flask("shop").app_context(), pytest.raises(TakoError) as error:
        Tako().client.status()
    assert error.value.hint == "call Tako(app), or init_app(app)"


def test_flask_tako_is_the_command_line_of_the_project(live: Project) -> None:
    live.add("greet.py", GREET)
    runner = application(Tako(config=live.root)).test_cli_runner()
    enqueued = runner.invoke(args=["tako", "enqueue", "greet", "--wait", "--json", '"ann"'])
    assert (enqueued.exit_code, '"result": "hello ann"' in enqueued.stdout) == (0, True)
    assert runner.invoke(args=["tako", "show", "01a00000"]).exit_code == 5
    assert "enqueue" in runner.invoke(args=["tako", "--help"]).stdout


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = copy_example("flask", tmp_path_factory.mktemp("flask"))
    with (
        program(folder, ["-m", "flask", "--app", "app", "tako", "serve"]),
        web_server(folder, "-m", "flask", "--app", "app", "run", "--port", "{port}") as client,
    ):
        yield client


def test_handlers_of_the_example_have_the_context_of_the_application(example: httpx.Client) -> None:
    run = example.post("/signups", data={"email": "ann@shop.example"}).json()["run"]
    assert wait_for_run(example, f"/runs/{run}") == {"state": "succeeded", "result": "Welcome, ann@shop.example"}
    assert example.get("/runs/01a00000-0000-7000-8000-000000000000").status_code == 404


def test_the_dashboard_in_a_wsgi_application_has_its_session(example: httpx.Client) -> None:
    assert example.get("/tako/runs").status_code == 403
    example.post("/login", data={"name": "ann"})
    page = example.get("/tako/runs")
    assert (page.status_code, "/tako/-/assets/" in page.text) == (200, True)
    example.cookies.clear()
