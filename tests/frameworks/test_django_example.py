"""The example of Django, served by a real web server, with the dashboard for its staff."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tako_lite.client import Client
from tests.support.django_site import copy_site, has_django
from tests.support.example_app import SLOW, program, web_server
from tests.support.project import REPOSITORY, wait_until

if not has_django():
    pytest.skip("needs Django", allow_module_level=True)

STAFF = """
from django.contrib.auth.models import Permission, User
User.objects.create_superuser("boss", "", "secret")
ann = User.objects.create_user("ann", "", "secret", is_staff=True)
ann.user_permissions.add(Permission.objects.get(content_type__app_label="tako", codename="retry"))
User.objects.create_user("bob", "", "secret")
"""


class Site(NamedTuple):
    folder: Path
    client: httpx.Client


def manage(folder: Path, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "DJANGO_SETTINGS_MODULE": "mysite.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = copy_site(tmp_path_factory.mktemp("example"))
    manage(folder, "migrate", "-v0")
    manage(folder, "shell", "-c", STAFF)
    with (
        program(folder, ["manage.py", "tako", "serve"]),
        web_server(folder, "-m", "uvicorn", "mysite.asgi:application", "--port", "{port}", "--lifespan", "off") as client,
    ):
        yield Site(folder, client)


def ended(client: httpx.Client, task: str) -> dict[str, Any]:
    def finished() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(f"/tasks/{task}").raise_for_status().json()
        return shown if "result" in shown else None

    return wait_until(finished, f"the task {task} has ended", SLOW)  # type: ignore[return-value]


def sign_in(client: httpx.Client, name: str) -> None:
    client.cookies.clear()
    client.get("/admin/login/")
    form = {"username": name, "password": "secret", "next": "/admin/", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    reply = client.post("/admin/login/", data=form)
    assert reply.status_code == (200 if name == "bob" else 302)


def test_an_order_is_confirmed_by_a_worker_after_the_commit(site: Site) -> None:
    made = site.client.post("/orders", data={"email": "ann@shop.example"}).json()
    assert ended(site.client, made["task"]) == {"state": "SUCCESSFUL", "attempts": 1, "result": "ann@shop.example"}
    with closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
        assert database.execute("SELECT confirmed FROM shop_order WHERE id = ?", (made["order"],)).fetchone() == (1,)


def test_an_order_whose_transaction_fails_leaves_no_task(site: Site) -> None:
    before = list(Client(site.folder).runs())
    assert site.client.post("/orders", data={"email": "x@shop.example", "fail": "1"}).status_code == 500
    assert list(Client(site.folder).runs()) == before


def test_the_example_passes_djangos_checks(site: Site) -> None:
    assert "no issues" in manage(site.folder, "check")
    assert "No changes" in manage(site.folder, "makemigrations", "--check")


def test_staff_sees_the_dashboard_with_its_permissions_and_others_do_not(site: Site) -> None:
    pages = {}
    for name in ("boss", "ann", "bob"):
        sign_in(site.client, name)
        pages[name] = site.client.get("/tako/runs")
    assert [page.status_code for page in pages.values()] == [200, 200, 403]
    site.client.cookies.clear()
    assert site.client.get("/tako/runs").status_code == 403

    task = site.client.post("/orders", data={"email": "eve@shop.example"}).json()["task"]
    ended(site.client, task)
    sign_in(site.client, "boss")
    assert "eve@shop.example" in site.client.get(f"/tako/runs/{task}").text
    index = site.client.get("/admin/").text
    assert "/admin/tako/dashboard/" in index
    assert site.client.get("/admin/tako/dashboard/").headers["location"] == "/tako/"
    sign_in(site.client, "ann")
    assert "eve@shop.example" not in site.client.get(f"/tako/runs/{task}").text
