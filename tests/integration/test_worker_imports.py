"""How a worker imports the project: as any program does, from where it says, and never by bytecode of another text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.project import Project, is_gone, wait_until

HEAD = "from tako_lite import workflow\n"


def write(file: Path, text: str) -> Path:
    """Write a file of a project that has nothing in it of the tests' own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# With no event loop running


def test_files_may_run_event_loops_while_they_are_imported(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        async def load():
            await asyncio.sleep(0)
            return 42

        BY_RUN = asyncio.run(load())
        loop = asyncio.new_event_loop()
        BY_LOOP = loop.run_until_complete(load())
        loop.close()
        LOCK = asyncio.Lock()
        signal.signal(signal.SIGUSR1, lambda *_: witness("signal"))
        THREAD = threading.current_thread() is threading.main_thread()

        @workflow("a")
        async def a(payload, step: Step):
            async with LOCK:
                os.kill(os.getpid(), signal.SIGUSR1)
                await step.run("nothing", str, 1)
                process = await asyncio.create_subprocess_exec("true")
                return [BY_RUN, BY_LOOP, THREAD, await process.wait()]
        """,
    )
    project.serve()
    assert project.run("a")["result"] == [42, 42, True, 0]
    project.wait_for_fact("signal")


def test_an_event_loop_that_a_file_sets_during_import_runs_its_handlers(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        LOOP = asyncio.get_event_loop_policy().get_event_loop()
        @workflow("offered", worker="offered")
        async def offered(payload):
            return asyncio.get_running_loop() is LOOP
        """,
    )
    project.workflow(
        "b.py",
        """
        LOOP = asyncio.new_event_loop()
        asyncio.set_event_loop(LOOP)
        FUTURE = LOOP.run_until_complete(asyncio.sleep(0, "set up"))
        @workflow("set", worker="set")
        async def set_(payload, step: Step):
            return [asyncio.get_running_loop() is LOOP, FUTURE, await step.run("x", str, 1)]
        """,
    )
    project.workflow(
        "c.py",
        """
        LOOP = asyncio.get_event_loop_policy().get_event_loop()
        LOOP.run_until_complete(asyncio.sleep(0))
        LOOP.close()
        @workflow("closed", worker="closed")
        async def closed(payload, step: Step):
            return await step.run("x", str, 1)
        """,
    )
    project.serve()
    assert project.run("offered")["result"] is True
    assert project.run("set")["result"] == [True, "set up", "1"]
    assert project.run("closed")["result"] == "1"


def test_a_module_that_is_imported_for_a_run_of_another_group_finds_no_loop_running_either(project: Project) -> None:
    project.workflow(
        "media.py",
        """
        import contextvars, decimal
        SETTINGS = asyncio.run(asyncio.sleep(0, "read"))
        decimal.getcontext().prec = 5
        NAME = contextvars.ContextVar("name")
        NAME.set("media")
        THREAD = threading.current_thread() is threading.main_thread()

        def look():
            return [SETTINGS, THREAD, str(decimal.Decimal(1) / 3), NAME.get()]

        @workflow("m", worker="media")
        async def m(payload, step: Step):
            return [look(), await step.run("look", look)]
        """,
    )
    project.workflow(
        "email.py",
        """
        @workflow("e", worker="email")
        async def e(payload, step: Step):
            await asyncio.sleep(payload)
            return os.getpid()
        """,
    )
    project.serve()
    neighbour = project.enqueue("e", 0.5)
    project.wait_for_state(neighbour, "running")
    expected = ["read", True, "0.33333", "media"]
    assert project.run("m", worker="email")["result"] == [expected, expected]
    assert project.wait(neighbour)["result"] == project.run("e", 0)["result"]


def test_a_module_that_cannot_be_imported_for_a_run_ends_that_run_alone(project: Project) -> None:
    project.workflow("bad.py", "raise KeyboardInterrupt('at import')\n@workflow('bad', worker='bad')\ndef bad(p): ...\n")
    project.workflow("good.py", "@workflow('good')\nasync def good(payload):\n    return os.getpid()\n")
    project.serve()
    pid = project.run("good")["result"]
    run = project.run("bad", worker="default", retries=0)
    assert "workflows/bad.py:14: KeyboardInterrupt: at import" in str(run["error"])
    assert project.run("good")["result"] == pid


def test_a_file_may_fork_and_start_programs_while_it_is_imported(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import subprocess
        if (child := os.fork()) == 0:
            os._exit(7)
        CODES = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), subprocess.run(["true"]).returncode]
        if (child := os.fork()) == 0:
            sys.exit(3)
        CODES.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        @workflow("a")
        async def a(payload):
            return CODES
        """,
    )
    project.serve()
    assert project.run("a")["result"] == [7, 0, 3]


def test_a_worker_that_is_importing_ends_with_the_daemon(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        witness("importing")
        while not os.path.exists("go"):
            time.sleep(0.02)

        @workflow("a")
        async def a(payload):
            return 1
        """,
    )
    project.serve()
    project.enqueue("a")
    (fact,) = project.wait_for_fact("importing")
    project.stop(signal.SIGKILL)
    wait_until(lambda: is_gone(fact["pid"]), "the worker is gone")
    (project.root / "go").touch()


# The context


def test_what_one_run_sets_in_its_context_no_other_run_sees(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import decimal
        decimal.getcontext().prec = 50

        @workflow("changes")
        async def changes(payload):
            decimal.getcontext().prec = 3

        @workflow("changes-plain")
        def changes_plain(payload):
            decimal.getcontext().prec = 4

        @workflow("look")
        async def look(payload):
            return decimal.getcontext().prec
        """,
    )
    project.serve()
    project.run("changes")
    project.run("changes-plain")
    assert project.run("look")["result"] == 50


# From where


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An interpreter without tako_lite."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    return tmp_path / "bare/bin/python"


POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from tako_lite import workflow
import beside

def square(number):
    assert sys.argv[1:] == []
    return beside.times(number)

@workflow("pool", worker="bare", retries=0)
def pool(method):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        found = list(executor.map(square, range(3)))
    process = multiprocessing.get_context(method).Process(target=square, args=(1,))
    process.start()
    process.join()
    return found + [process.exitcode]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_every_start_method_can_import_what_the_worker_can(project: Project, bare: Path, method: str) -> None:
    project.configure(f'[workflows]\npath = "src/jobs"\n[workflows.bare]\npython = "{bare}"\n')
    write(project.root / "src/jobs/deep/pools.py", POOL)
    write(project.root / "jobs/__init__.py", "raise RuntimeError('these are not the jobs that were meant')\n")
    write(project.root / "src/beside.py", "def times(n):\n    return n * n\n")
    project.serve()
    run = project.run("pool", method)
    assert run["result"] == [0, 1, 4, 0], run["error"]


def test_modules_beside_a_workflows_folder_elsewhere_can_be_imported_and_hide_nothing(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    project.configure(f'[workflows]\npath = "{elsewhere}/jobs"\n')
    write(elsewhere / "shop.py", "NAME = 'shop'\n")
    write(elsewhere / "json.py", "raise RuntimeError('this is not the json that was meant')\n")
    source = "import json, shop\n" + HEAD + "@workflow('a')\ndef a(payload):\n    return json.dumps(shop.NAME)\n"
    write(elsewhere / "jobs/a.py", source)
    project.serve()
    assert project.run("a")["result"] == '"shop"'


@pytest.mark.parametrize("package", ["workflows/__init__.py", "workflows/other.py"])
def test_files_beside_workflows_are_found_as_resources_of_their_package(project: Project, package: str) -> None:
    write(project.root / package, "")
    write(project.root / "workflows" / "mail.txt", "text")
    write(project.root / "workflows" / "sub" / "mail.txt", "below")
    project.workflow(
        "a.py",
        """
        from importlib.resources import files

        @workflow("a")
        def a(payload):
            found = [(files(name) / "mail.txt").read_text() for name in (__package__, "workflows.sub")]
            sys.path.append("/nowhere")
            import workflows.sub.other
            return found
        """,
    )
    write(project.root / "workflows" / "sub" / "other.py", "")
    project.serve()
    assert project.run("a")["result"] == ["text", "below"]


def test_a_module_that_is_not_found_is_reported_with_the_line_and_where_it_was_looked_for(project: Project) -> None:
    project.workflow("a.py", "import shop_of_nobody\n@workflow('a')\nasync def a(payload): ...\n")
    project.serve()
    project.enqueue("a")
    error = wait_until(lambda: project.group("default")["last_error"], "the group fails")
    assert error.startswith("workflows/a.py:14: ModuleNotFoundError: No module named 'shop_of_nobody'")
    assert f"is not in {project.root} (the folder of tako.toml)" in error
    assert "PYTHONPATH" in error and sys.executable in error


# Bytecode


PRICE = HEAD + "import helper\n@workflow('price', retries=0)\ndef price(payload):\n    return [1, helper.PRICE]\n"


def age(file: Path) -> None:
    os.utime(file, ns=(1_700_000_000_000_000_000,) * 2)


def test_an_edit_that_keeps_length_and_time_is_picked_up_by_the_next_worker(project: Project) -> None:
    files = [write(project.root / "workflows/a.py", PRICE), write(project.root / "helper.py", "PRICE = 1\n")]
    for file in files:
        age(file)
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(file)], check=True)
    project.serve(PYTHONDONTWRITEBYTECODE="")
    for number in range(1, 5):
        if number > 1:
            for file in files:
                file.write_text(file.read_text().replace(f"{number - 1}", f"{number}"))
                age(file)
            assert "default" in project.command("reload").stdout
        assert project.run("price")["result"] == [number, number]
    assert "nothing" in project.command("reload").stdout.lower()


def test_an_edit_below_a_pythonpath_outside_of_the_project_is_picked_up_by_reload(project: Project, tmp_path: Path) -> None:
    folder = os.path.relpath(tmp_path / "elsewhere", project.root)
    shared = write(tmp_path / "elsewhere" / "shared" / "__init__.py", "VALUE = 1\n")
    project.configure(f'[workflows]\nenv = {{ PYTHONPATH = "{folder}" }}\n')
    project.workflow(
        "a.py",
        """
        import shared

        @workflow("a")
        def a(payload):
            return shared.VALUE
        """,
    )
    project.serve(PYTHONDONTWRITEBYTECODE="")
    assert project.run("a")["result"] == 1
    age(shared)
    shared.write_text("VALUE = 2\n")
    age(shared)
    assert "default" in project.command("reload").stdout
    assert project.run("a")["result"] == 2
