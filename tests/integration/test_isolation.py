"""What a worker can see: its group's modules, environment, limits and descriptors, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import Project, wait_until

LOOK = """
    @workflow("look")
    async def look(payload):
        return {
            "env": dict(os.environ),
            "nice": os.nice(0),
            "files": __import__("resource").getrlimit(__import__("resource").RLIMIT_NOFILE),
            "zone": time.tzname,
            "cwd": os.getcwd(),
            "python": list(sys.version_info[:2]),
            "umask": os.umask(0o022),
        }
"""


def session_nice(pid: int) -> int:
    """The nice value of a session, which Linux weighs against those of others."""
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def python(*versions: str) -> str:
    """An interpreter of one of these versions, by its own path; where a version manager has it, a name alone does not start."""
    for version in versions:
        named = shutil.which(f"python{version}")
        if named is None:
            continue
        for candidate in (Path(named), *Path(named).parent.parent.glob(f"versions/{version}*/bin/python")):
            command = [candidate, "-c", "import sys; print(sys.executable)"]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)
            if asked.returncode == 0 and sys.version_info[:2] != tuple(map(int, version.split("."))):
                return asked.stdout.strip()
    pytest.skip(f"there is no Python {' or '.join(versions)} here")


# Modules


def test_a_group_imports_its_own_modules_and_never_those_of_another(project: Project) -> None:
    project.workflow("media.py", "witness('media')\n@workflow('m', worker='media')\nasync def m(payload):\n    return 1\n")
    project.workflow("email.py", "@workflow('e', worker='email')\nasync def e(payload):\n    return sorted(sys.modules)\n")
    project.serve()
    modules = project.run("e")["result"]
    assert "workflows.email" in modules and "workflows.media" not in modules
    assert project.facts("media") == []
    assert project.run("m")["state"] == "succeeded"
    assert len(project.facts("media")) == 1


def test_the_module_of_a_run_that_was_sent_here_is_imported_when_it_comes(project: Project) -> None:
    project.workflow("media.py", "@workflow('m', worker='media')\nasync def m(payload):\n    return sorted(sys.modules)\n")
    project.workflow("email.py", "@workflow('e', worker='email')\nasync def e(payload):\n    return os.getpid()\n")
    project.serve()
    pid = project.run("e")["result"]
    run = project.run("m", worker="email")
    assert (run["group"], run["group_source"]) == ("email", "enqueue")
    assert {"workflows.media", "workflows.email"} <= set(run["result"])
    assert project.run("e")["result"] == pid


def test_only_workers_execute_what_stands_in_workflow_files(project: Project) -> None:
    project.workflow(
        "a.py", "witness('imported', ppid=os.getppid())\n@workflow('a')\nasync def a(payload):\n    return os.getpid()\n"
    )
    daemon = project.serve()
    assert project.cli("check").returncode == 0
    assert project.cli("workflows").returncode == 0
    assert project.facts("imported") == []
    pid = project.run("a")["result"]
    (fact,) = project.facts("imported")
    assert fact["pid"] == pid and fact["pid"] not in (daemon, project.status()["daemon"]["zygote_pid"])


def test_files_named_like_modules_of_the_standard_library_shadow_nothing(project: Project) -> None:
    for name in ("json", "email", "asyncio", "types"):
        project.workflow(
            f"{name}.py",
            f"""
            import email.message, json as found
            @workflow("{name}")
            async def handler(payload):
                return [__name__, found.dumps([1]), email.message.__name__]
            """,
        )
    project.serve()
    for name in ("json", "email", "asyncio", "types"):
        assert project.run(name)["result"] == [f"workflows.{name}", "[1]", "email.message"]


def test_workflows_import_each_other_relatively_and_modules_beside_tako_toml_by_name(project: Project) -> None:
    (project.root / "shop").mkdir()
    (project.root / "shop" / "__init__.py").write_text("NAME = 'shop'\n")
    project.workflow("billing/__init__.py", "")
    project.workflow("billing/prices.py", "from shop import NAME\nPRICE = 7\n")
    project.workflow(
        "billing/invoice.py",
        """
        from .prices import NAME, PRICE
        from ..common import CURRENCY

        @workflow("invoice")
        async def invoice(payload):
            return [NAME, PRICE, CURRENCY, __name__]
        """,
    )
    project.workflow("common.py", "CURRENCY = 'EUR'\n")
    project.serve()
    assert project.run("invoice")["result"] == ["shop", 7, "EUR", "workflows.billing.invoice"]


def test_a_workflow_folder_anywhere_is_importable_by_its_own_name(project: Project) -> None:
    project.configure('[workflows]\npath = "src/jobs"\n')
    folder = project.root / "src" / "jobs"
    folder.mkdir(parents=True)
    (folder / "names.py").write_text("NAME = 'n'\n")
    (folder / "a.py").write_text(
        "from tako_lite import workflow\nfrom .names import NAME\nfrom jobs.names import NAME as SAME\n"
        "@workflow('a')\nasync def a(payload):\n    return [NAME, SAME, __name__]\n"
    )
    project.serve()
    assert project.run("a")["result"] == ["n", "n", "jobs.a"]


# Environment and limits


def test_a_worker_sees_of_the_environment_only_what_its_group_is_given(project: Project) -> None:
    project.configure(
        """
        [workflows]
        env = { SHARED = "both", LEVEL = "low" }
        [workflows.media]
        env = { LEVEL = "high", TOKEN = "t" }
        env_pass = ["HANDED_DOWN"]
        """
    )
    project.workflow("a.py", LOOK)
    project.serve(SECRET="s", HANDED_DOWN="h", LC_TIME="C", TZ="UTC")
    seen = project.run("look")["result"]["env"]
    assert {name for name in seen if not name.startswith(("LC_", "PYTHON"))} <= {
        "PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV", "SHARED", "LEVEL",
    }  # fmt: skip
    assert (seen["SHARED"], seen["LEVEL"], seen["LC_TIME"], seen["PATH"]) == ("both", "low", "C", os.environ["PATH"])
    media = project.run("look", worker="media")["result"]["env"]
    assert (media["SHARED"], media["LEVEL"], media["TOKEN"], media["HANDED_DOWN"]) == ("both", "high", "t", "h")
    assert "SECRET" not in media and "SECRET" not in seen


def test_even_the_kernel_shows_nothing_of_the_daemons_environment_in_a_worker(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return open('/proc/self/environ').read()\n")
    project.serve(SECRET="open-sesame")
    assert "open-sesame" not in project.run("a")["result"]


def test_nice_limits_and_time_zone_of_a_group_hold_for_its_workers(project: Project) -> None:
    project.configure(
        """
        [workflows.media]
        nice = 7
        limits = { nofile = 77 }
        env = { TZ = "Asia/Tokyo" }
        """
    )
    project.workflow("a.py", LOOK)
    project.serve(TZ="UTC")
    seen, media = project.run("look")["result"], project.run("look", worker="media")["result"]
    assert (media["nice"] - seen["nice"], media["files"]) == (7, [77, 77])
    assert (media["zone"][0], seen["zone"][0]) == ("JST", "UTC")
    assert seen["cwd"] == media["cwd"] == str(project.root)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group processes by session")
def test_nice_of_a_group_holds_against_the_sessions_of_other_groups(project: Project) -> None:
    project.configure("[workflows]\nworkers = 1\n[workflows.media]\nnice = 7\n")
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return os.getpid()\n")
    project.serve()
    plain, media = project.run("a")["result"], project.run("a", worker="media")["result"]
    wait_until(lambda: session_nice(media) == os.getpriority(os.PRIO_PROCESS, media), "its session has its nice value")
    assert session_nice(media) - session_nice(plain) == 7


def test_a_start_up_variable_of_python_acts_in_the_group_that_sets_it(project: Project) -> None:
    project.configure('[workflows.strict]\nenv = { PYTHONWARNINGS = "error", PYTHONHASHSEED = "0" }\n')
    project.workflow(
        "a.py",
        """
        @workflow("flags")
        async def flags(payload):
            return [sys.warnoptions, sys.flags.hash_randomization]
        """,
    )
    project.serve()
    assert project.run("flags", worker="strict")["result"] == [["error"], 0]
    assert project.run("flags")["result"] == [[], 1]


def test_a_worker_has_its_own_descriptors_and_no_others(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        @workflow("descriptors")
        async def descriptors(payload):
            found = {}
            for name in os.listdir("/proc/self/fd"):
                try:
                    found[name] = os.readlink(f"/proc/self/fd/{name}")
                except OSError:
                    continue  # the listing's own
            return found
        """,
    )
    project.serve()
    with project.client() as held:
        held.status()
        found = project.run("descriptors")["result"]
    assert found["0"] == "/dev/null"
    assert found["1"] == found["2"] and found["1"].startswith("pipe:")
    others = [target for name, target in found.items() if name not in "012" and "/libffi.so" not in target]  # ctypes' own
    assert all(target.startswith(("socket:", "pipe:", "anon_inode:")) for target in others)
    assert len([target for target in others if target.startswith("socket:")]) <= 4  # link, guard, and asyncio's own pair


def test_a_handler_may_use_processes_of_its_own(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        @workflow("pool")
        def pool(payload):
            with ProcessPoolExecutor(2, get_context(payload)) as processes:
                return list(processes.map(abs, [-1, -2, -3]))
        """,
    )
    project.serve()
    assert project.run("pool", "fork")["result"] == [1, 2, 3]
    assert project.run("pool", "spawn")["result"] == [1, 2, 3]


def test_tako_lite_is_all_that_the_worker_runtime_loads(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    return sorted(sys.modules)\n")
    project.serve()
    loaded = {name.partition(".")[0] for name in project.run("a")["result"]}
    program = "import sys; print(*sys.modules)"
    by_itself = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    own = {name.partition(".")[0] for name in by_itself.stdout.split()}  # such as Debian's sitecustomize
    foreign = {name for name in loaded if not name.startswith("_")} - set(sys.stdlib_module_names) - own
    assert foreign - {"tests"} <= {"tako_lite", "workflows"}  # the tests listen to their workflows


# Interpreters


def test_a_group_may_have_another_interpreter(project: Project) -> None:
    other = python("3.13", "3.12", "3.14", "3.11")
    project.configure(f'[workflows.other]\npython = "{other}"\n')
    project.workflow("a.py", LOOK)
    project.serve()
    assert project.run("look", worker="other")["result"]["python"] != list(sys.version_info[:2])
    assert project.run("look")["result"]["python"] == list(sys.version_info[:2])


@pytest.mark.parametrize("named", ["/nowhere/python3", "python-of-nobody"])
def test_an_interpreter_that_is_not_there_is_named_and_its_work_is_kept(project: Project, named: str) -> None:
    project.configure(f'[workflows.other]\npython = "{named}"\n')
    project.workflow("a.py", LOOK)
    project.serve()
    with project.client() as client:
        made = client.enqueue("look", worker="other")
    assert named in (made.warning or "")
    assert project.group("other")["state"] in ("backoff", "unhealthy")
    assert project.get(made.id)["state"] == "pending"
    assert project.run("look")["state"] == "succeeded"


def test_a_launcher_that_finds_no_interpreter_is_quoted_with_its_first_line(project: Project) -> None:
    shim = project.root / "python-shim"
    shim.write_text("#!/bin/sh\nprintf 'shim: python9: command not found\\n\\nNote: see its help.\\n' >&2; exit 127\n")
    shim.chmod(0o755)
    project.configure(f'[workflows.other]\npython = "{shim}"\n')
    project.workflow("a.py", LOOK)
    project.serve()
    with project.client() as client:
        made = client.enqueue("look", worker="other")
    assert "shim: python9: command not found" in (made.warning or "")


def test_an_interpreter_that_is_too_old_says_so(project: Project) -> None:
    old = python("3.10", "3.9", "3.8", "2.7")
    project.configure(f'[workflows.other]\npython = "{old}"\n')
    project.workflow("a.py", LOOK)
    project.serve()
    with project.client() as client:
        made = client.enqueue("look", worker="other")
    assert "workers need Python 3.11 or newer" in (made.warning or "")


# Files


def test_everything_in_the_state_folder_is_the_owners_alone(project: Project) -> None:
    project.workflow("a.py", "@workflow('a')\nasync def a(payload):\n    print('x')\n    return 1\n")
    previous = os.umask(0o000)
    try:
        project.serve()
    finally:
        os.umask(previous)
    project.run("a")
    state = project.root / ".tako"
    wait_until(lambda: (state / "logs" / "default.jsonl").exists(), "there is a log")
    modes = {str(path.relative_to(project.root)): mode(path) for path in [state, *state.rglob("*")]}
    assert {name: oct(bits) for name, bits in modes.items() if bits & 0o077} == {}
    assert mode(state) == 0o700 and mode(state / "tako.sock") == 0o600
    assert project.backend.name != "sqlite" or mode(state / "queue.db") == 0o600


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)
