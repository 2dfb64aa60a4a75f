"""The setting `setup` of a group: a function that each worker calls before it imports anything of the group."""

from __future__ import annotations

import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite.linux import read_process
from tests.support.project import Project, command_in, wait_until

SETUP = """\
import asyncio, contextvars, os, threading
from tako_lite import secret

CALLS = []
NAME = contextvars.ContextVar("name", default="unset")
LOOP = None

def plain():
    CALLS.append([os.getpid(), threading.current_thread() is threading.main_thread(), secret("dsn")])

async def on_the_loop():
    global LOOP
    LOOP = asyncio.get_running_loop()
    await asyncio.sleep(0)
    NAME.set("async")
    CALLS.append(os.getpid())

def broken():
    raise ValueError("no such project")
"""

WORKFLOWS = """
    from shop import hooks
    AT_IMPORT = list(hooks.CALLS)

    @workflow("plain", worker="plain")
    async def plain(payload):
        return [hooks.CALLS == AT_IMPORT, hooks.CALLS == [[os.getpid(), True, "s3cret"]]]

    @workflow("async", worker="async")
    async def async_(payload):
        return [hooks.CALLS == [os.getpid()], asyncio.get_running_loop() is hooks.LOOP, hooks.NAME.get()]

    @workflow("none")
    async def none(payload):
        return hooks.CALLS

    @workflow("broken", worker="broken")
    async def broken(payload): ...
"""

TOML = """
    [secrets]
    dsn = "file:dsn"

    [workflows.plain]
    setup = "shop.hooks:plain"
    secrets = ["dsn"]

    [workflows.async]
    setup = "shop.hooks:on_the_loop"
"""


@pytest.fixture(scope="module")
def shop(live: Project) -> Iterator[Project]:
    """The live project with a module of functions for `setup`."""
    (live.root / "shop").mkdir()
    (live.root / "shop/__init__.py").touch()
    (live.root / "shop/hooks.py").write_text(SETUP)
    (live.root / "dsn").write_text("s3cret\n")
    (live.root / "dsn").chmod(0o600)
    yield live
    live.configure("")
    live.call("reload")


def test_each_worker_calls_it_once_before_its_modules_are_imported(shop: Project) -> None:
    shop.configure(TOML)
    shop.add("a.py", WORKFLOWS)
    assert shop.run("plain")["result"] == [True, True]
    assert shop.run("async")["result"] == [True, True, "async"]
    assert shop.run("none")["result"] == []


def test_an_error_in_it_is_a_failed_start_with_file_and_line(shop: Project) -> None:
    line = SETUP.splitlines().index('    raise ValueError("no such project")') + 1
    about = f"setup shop.hooks:broken: shop/hooks.py:{line}: ValueError: no such project"
    shop.configure('[workflows.broken]\nsetup = "shop.hooks:broken"\n')
    shop.add("a.py", WORKFLOWS)
    run_id = shop.enqueue("broken")
    wait_until(lambda: shop.group("broken")["last_error"] == about, "the error is that of the group")
    assert about in shop.command("why", run_id).stdout
    assert about in shop.daemon_log()
    shop.configure("")
    shop.call("reload")
    assert shop.wait(run_id)["state"] == "succeeded"


def test_a_module_that_is_nowhere_is_a_failed_start_that_names_the_folders(shop: Project) -> None:
    shop.configure('[workflows.broken]\nsetup = "shpo.hooks:setup"\n')
    shop.add("a.py", WORKFLOWS)
    run_id = shop.enqueue("broken")
    error = wait_until(lambda: shop.group("broken")["last_error"], "the group has an error")
    assert error.startswith("setup shpo.hooks:setup: ModuleNotFoundError: No module named 'shpo'")
    assert str(shop.root) in error
    shop.command("cancel", run_id)


def test_a_change_of_it_or_of_its_file_replaces_the_workers_of_that_group_alone(shop: Project) -> None:
    always_on = TOML.replace("[workflows.async]", '[workflows.async]\nworkers = 1\nidle_timeout = "1h"')
    shop.configure(always_on)
    shop.add("a.py", WORKFLOWS)
    wait_until(lambda: shop.group("async")["state"] == "active", "a worker is ready")
    (pid,) = [worker["pid"] for worker in shop.group("async")["workers"]]
    shop.configure(always_on.replace("on_the_loop", "plain2"))
    (shop.root / "shop/hooks.py").write_text(SETUP + "\ndef plain2(): CALLS.append(os.getpid())\n")
    assert "async" in shop.call("reload")["changed"]
    wait_until(lambda: read_process(pid) is None, "the worker is replaced")
    assert shop.run("async")["result"][0] is True
    assert shop.call("reload")["changed"] == []
    (shop.root / "shop/hooks.py").write_text(SETUP + "\ndef plain2(): CALLS.append(os.getpid())\n# edited\n")
    assert "async" in shop.call("reload")["changed"]


def test_it_works_with_an_interpreter_of_the_groups_own(shop: Project) -> None:
    venv.create(shop.root / "bare", with_pip=False, symlinks=True)
    shop.configure('[workflows.async]\nsetup = "shop.hooks:on_the_loop"\npython = "bare/bin/python"\n')
    shop.add("a.py", WORKFLOWS)
    assert shop.run("async")["result"] == [True, True, "async"]


# What `check` knows without importing


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("shop", "`setup`: must name a function of a module"),
        ("shop.hooks:", "`setup`: must name a function of a module"),
        ("shop.hooks:pain", "`setup`: shop/hooks.py defines no function pain"),
        ("shop.hoks:plain", "`setup`: shop has no module hoks"),
        ("shop.hooks:takes", "`setup`: shop/hooks.py:21: takes() takes arguments, and is called without any"),
    ],
)
def test_check_reports_a_function_that_is_certainly_not_there(tmp_path: Path, entry: str, said: str) -> None:
    write_shop(tmp_path, entry)
    checked = command_in(tmp_path, "check")
    assert checked.returncode == 3
    assert f"tako.toml:2:9: {said}" in checked.stdout


@pytest.mark.parametrize("entry", ["shop.hooks:plain", "elsewhere.package:setup", "shop.star:anything"])
def test_check_accepts_a_function_that_may_be_there(tmp_path: Path, entry: str) -> None:
    write_shop(tmp_path, entry)
    assert command_in(tmp_path, "check").returncode == 0
    assert entry in command_in(tmp_path, "groups", "default").stdout


def write_shop(root: Path, entry: str) -> None:
    """A project whose groups call a function before anything else."""
    (root / "workflows").mkdir()
    (root / "shop").mkdir()
    (root / "shop/__init__.py").touch()
    (root / "shop/hooks.py").write_text(SETUP + "\ndef takes(app): ...\n")
    (root / "shop/star.py").write_text("from os.path import *\n")
    (root / "tako.toml").write_text(f'[workflows]\nsetup = "{entry}"\n')
