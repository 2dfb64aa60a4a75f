"""The pages on migrating: the task before, the task after, and both side by side are executed, and give the same."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.project import REPOSITORY, Project
from tests.support.teardown import tear_down

for package in ("apscheduler", "celery", "fakeredis", "fastapi", "huey", "rq"):
    pytest.importorskip(package)

PAGES: Final = REPOSITORY / "docs" / "migrating"
_BLOCK: Final = re.compile(r"^```(?:python|sh)\n# (before|after|both): (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKED: Final = ("Words", "What has no twin", "A task, before and after", "Both side by side", "Draining", "Traps")

CELERY: Final = """
from celery.contrib.testing.worker import start_worker
from tasks import app, make_thumbnail
import jobs

app.conf.update(broker_url="memory://", result_backend="cache+memory://")
with start_worker(app, pool="solo", perform_ping_check=False):
    before = make_thumbnail.apply_async(("cat.jpg",), {"width": 640}).get(timeout=10)
    old = app.AsyncResult(jobs.enqueue_thumbnail("cat.jpg", 640)).get(timeout=10)
os.environ["TAKO_SHARE"] = "100"
show(before=before, old=old, new=jobs.enqueue_thumbnail("cat.jpg", 640))
"""
RQ: Final = """
import fakeredis, redis
redis.Redis = fakeredis.FakeRedis
from rq import SimpleWorker
from rq.job import Job
import jobs, tasks

job = tasks.enqueue_invoice(7, "ann")
old = jobs.enqueue_invoice(7, "ann")
SimpleWorker([tasks.mail], connection=tasks.mail.connection).work(burst=True)
values = [Job.fetch(id, connection=tasks.mail.connection).return_value() for id in (job.id, old)]
os.environ["TAKO_SHARE"] = "100"
show(before=values[0], old=values[1], new=jobs.enqueue_invoice(7, "ann"))
"""
HUEY: Final = """
import jobs, tasks

def run(result):
    tasks.huey.execute(tasks.huey.dequeue())
    return result

before = run(tasks.import_feed("https://shop.example/feed")).get()
id = run(jobs.enqueue_import("https://shop.example/feed"))
old = tasks.huey.result(id)
os.environ["TAKO_SHARE"] = "100"
show(before=before, old=old, new=jobs.enqueue_import("https://shop.example/feed"))
"""
APSCHEDULER: Final = """
from datetime import datetime
from apscheduler.events import EVENT_JOB_EXECUTED
from queue import Queue
from clock import scheduler
from tako_lite import Client

ran = Queue()
scheduler.add_listener(lambda event: ran.put(event.retval), EVENT_JOB_EXECUTED)
scheduler.start()
scheduler.modify_job("refresh-rates", next_run_time=datetime.now(scheduler.timezone))
before = ran.get(timeout=10)
os.environ["MOVED"] = "refresh-rates"
import old_clock
assert old_clock.scheduler.get_jobs() == []
scheduler.shutdown()
show(before=before, old=before, new=Client().enqueue("refresh-rates").id)
"""
CRON: Final = """
import subprocess, sys

before = subprocess.run(["sh", "backup.sh"], check=True, capture_output=True, text=True).stdout.strip()
line = open("crontab").read().replace("/srv/shop", os.path.dirname(os.environ["TAKO_CONFIG"]))
command = line.split(None, 5)[5].replace("tako-lite", f"{sys.executable} -m tako_lite")
new = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout.split()[0]
show(before=before, old=before, new=new)
"""
FASTAPI: Final = """
import importlib.util
from fastapi import BackgroundTasks
from fastapi.testclient import TestClient
import jobs

def load(file):
    spec = importlib.util.spec_from_file_location("application", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

before = load("app.py")
query = {"email": "ann@shop.example", "name": "Ann"}
TestClient(before.app).post("/signups", params=query).raise_for_status()
with TestClient(load(os.environ["AFTER"] + "/app.py").app) as client:
    new = client.post("/signups", params=query).json()["run"]

async def both():
    from tako_lite import AsyncClient
    tasks = BackgroundTasks()
    assert await jobs.enqueue_welcome(*query.values(), AsyncClient(), tasks) is None
    assert [task.func for task in tasks.tasks] == [jobs.old_welcome]
    os.environ["TAKO_SHARE"] = "100"
    return await jobs.enqueue_welcome(*query.values(), AsyncClient(), BackgroundTasks())

import asyncio
assert asyncio.run(both()) != new
show(before=before.sent[0], old=before.sent[0], new=new)
"""
DRIVERS: Final = {
    "apscheduler": APSCHEDULER,
    "celery": CELERY,
    "cron": CRON,
    "fastapi-backgroundtasks": FASTAPI,
    "huey": HUEY,
    "rq": RQ,
}
HEAD: Final = "import json, os\ndef show(**facts):\n    print(json.dumps(facts))\n"


def write_blocks(page: str, kinds: tuple[str, ...], folder: Path) -> None:
    """Write the blocks of a page that are of these kinds as files."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    for kind, name, source in _BLOCK.findall(text):
        if kind in kinds:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The files of all pages that a project has after the migration, served by one daemon."""
    project = Project(tmp_path_factory.mktemp("after"))
    tools = project.root / "bin"
    tools.mkdir()
    (tools / "pg_dump_shop").write_text("#!/bin/sh\necho 'CREATE TABLE orders;'\n")
    (tools / "pg_dump_shop").chmod(stat.S_IRWXU)
    project.configure(f'[workflows]\nenv = {{ PATH = "{tools}:{os.environ["PATH"]}" }}\n')
    for page in DRIVERS:
        write_blocks(page, ("after",), project.root)
    project.serve()
    yield project
    tear_down(project)


@pytest.mark.parametrize("page", DRIVERS)
def test_the_task_of_a_page_gives_the_same_before_and_after(page: str, after: Project, tmp_path: Path) -> None:
    write_blocks(page, ("before", "both"), tmp_path)
    (tmp_path / "driver.py").write_text(HEAD + DRIVERS[page])
    finished = subprocess.run(
        [sys.executable, "driver.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{after.root}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "TAKO_CONFIG": str(after.root / "tako.toml"),
            "AFTER": str(after.root),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    facts: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    run = after.wait(facts["new"])
    assert (run["state"], run["result"]) == ("succeeded", facts["before"]), run["error"]
    assert facts["old"] == facts["before"]


@pytest.mark.parametrize("page", DRIVERS)
def test_a_page_on_migrating_has_the_shape_of_the_others(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(heads) == len(_ASKED)
    assert all(head.startswith(asked) for head, asked in zip(heads, _ASKED, strict=True))
    assert {kind for kind, *_ in _BLOCK.findall(text)} == {"before", "after", "both"}


def test_every_page_on_migrating_is_listed() -> None:
    listed = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in PAGES.glob("*.md") if file.name != "README.md" and f"({file.name})" not in listed] == []
