"""What handlers do to their worker, and what the machine does to it: every run ends as it should, and others notice nothing."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.failpoints import fired, serve_until
from tests.support.profiles import scaled
from tests.support.project import Project, is_gone, wait_until
from tests.support.runs import STEPS, charged, release

PID = """
    @workflow("pid")
    async def pid(payload):
        return os.getpid()
"""

# Frozen


def test_a_worker_that_thaws_while_it_is_killed_stores_its_own_value_or_none(
    project: Project,
) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow("a.py", STEPS)
    serve_until(project, "event.killing=0.3")  # between the judgement and the kill, the daemon stands still
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    os.kill(fact["pid"], signal.SIGSTOP)
    wait_until(lambda: fired(project.root), "it is about to be killed")
    release(project)
    os.kill(fact["pid"], signal.SIGCONT)
    run = project.wait(run_id)
    assert is_gone(fact["pid"])
    assert (run["state"], run["result"], run["attempts"]) == ("succeeded", 1, 1)
    seconds = project.facts("second")
    assert len(seconds) - 1 <= run["crashes"] <= 1  # what it stored in time is not done again
    assert len(project.facts("first")) == 1


# Memory


def test_a_run_over_the_memory_limit_of_its_group_fails_and_its_worker_continues(project: Project) -> None:
    project.configure('[workflows.default.limits]\nas = "1GiB"\n')
    project.workflow(
        "a.py",
        PID
        + """
    @workflow("greedy", retries=0)
    async def greedy(payload):
        return len(bytearray(2 << 30))
    """,
    )
    project.serve()
    before = project.run("pid")["result"]
    run = project.run("greedy")
    assert charged(run) == ("dead", 1, 0)
    assert run["error"]["type"] == "MemoryError"
    assert project.run("pid")["result"] == before


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A control group of the kernel with 64 MiB of memory; skips where we may not make one."""
    name = f"tako-test-{os.getpid()}"
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    group, limit = (v1 / name, "memory.limit_in_bytes") if v1.is_dir() else (v2 / name, "memory.max")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs a control group of memory: {error.strerror}")
    try:
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0")
        (group / limit).write_text(str(64 << 20))
        yield group
    except OSError as error:
        pytest.skip(f"needs a control group of memory: {error.strerror}")
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
        group.rmdir()


def test_a_worker_killed_for_lack_of_memory_is_a_crash_of_its_own_run_only(project: Project, small_group: Path) -> None:
    project.configure("[workflows]\nmax_crashes = 1\n")
    project.workflow(
        "a.py",
        PID
        + f"""
    @workflow("greedy", worker="greedy")
    async def greedy(payload):
        with open({str(small_group / "cgroup.procs")!r}, "w") as members:
            members.write(str(os.getpid()))
        return len(bytes(bytearray(b"x") * (256 << 20)))
    """,
    )
    project.serve()
    before = project.run("pid")["result"]
    run = project.run("greedy")
    assert charged(run) == ("dead", 0, 1)
    assert run["error"]["reason"] == "crashed" and "SIGKILL" in run["error"]["message"]
    assert project.run("pid")["result"] == before


# The inherited socket


FORKS = """
    import socket
    from tako_lite.worker.run import current_run

    @workflow("forks", worker="forks", retries=0)
    async def forks(deed):
        link = current_run.get()._link._transport.get_extra_info("socket").fileno()
        child = os.fork()
        if child == 0:
            if deed == "half a frame":
                os.write(link, b'{"t":"out",')
            elif deed == "no frame":
                os.write(link, b"no frame\\n")
            elif deed == "hangs up":
                socket.socket(fileno=link).shutdown(socket.SHUT_RDWR)
            elif deed == "closes everything":
                os.closerange(3, 64)
            elif deed == "returns":
                return "child"
            elif deed == "raises":
                raise ValueError("child")
            elif deed == "leaves":
                sys.exit(3)
            os._exit(0)
        witness("child", child=child)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            await asyncio.sleep(0.01)
        return "parent"
"""


def test_a_child_that_a_handler_forks_can_do_nothing_with_the_sockets_of_its_worker(project: Project) -> None:
    project.configure("[workflows]\nmax_crashes = 1\nconcurrency = 1\n")
    project.workflow("a.py", FORKS)
    project.serve()
    deeds = ("half a frame", "no frame", "hangs up", "closes everything", "nothing", "returns", "raises", "leaves")
    ends = {deed: project.run("forks", deed) for deed in deeds}
    for deed, run in ends.items():
        assert (deed, run["result"], *charged(run)) == (deed, "parent", "succeeded", 1, 0)
    assert len({run["worker_pid"] for run in ends.values()}) == 1
    wait_until(lambda: all(is_gone(fact["child"]) for fact in project.facts("child")), "the children have ended", 5)
    assert "invalid data" not in project.daemon_log()


# Failures


def test_errors_that_are_hard_to_describe_are_described_in_part(project: Project) -> None:
    project.workflow(
        "a.py",
        PID
        + """
    class Odd(Exception):
        def __str__(self):
            return 7

    class Rude(Exception):
        def __str__(self):
            raise SystemExit(3)

    class Group(ExceptionGroup):
        pass

    def deep(n):
        deep(n + 1)

    @workflow("hard", retries=0)
    async def hard(what):
        if what == "50 MB":
            raise ValueError("x" * 50_000_000)
        if what == "notes":
            error = ValueError("noted")
            for _ in range(1_000):
                error.add_note("n" * 50_000)
            raise error
        if what == "deep":
            deep(0)
        if what == "odd":
            raise Odd
        if what == "rude":
            raise Rude
        if what == "many":
            raise Group("many", [ValueError("one of many" * 100) for _ in range(10_000)])
        if what == "chain":
            error = None
            for number in range(5_000):
                try:
                    raise ValueError(number) from error
                except ValueError as raised:
                    error = raised
            raise error
        cycle = []
        cycle.append(cycle)
        return cycle
    """,
    )
    project.serve()
    before = project.run("pid")["result"]
    kinds = {
        "50 MB": "ValueError",
        "notes": "ValueError",
        "deep": "RecursionError",
        "odd": "Odd",
        "rude": "Rude",
        "many": "Group",
        "chain": "ValueError",
    }
    for what, kind in kinds.items():
        run = project.run("hard", what)
        assert (what, *charged(run)) == (what, "dead", 1, 0)
        assert run["error"]["type"] == kind
        assert len(run["error"]["message"]) <= 4_097
        assert len(run["error"]["traceback"]) <= 16_400
    run = project.run("hard", "cyclic result")
    assert (*charged(run), run["error"]["reason"]) == ("dead", 1, 0, "not_json")
    assert project.run("pid")["result"] == before


@pytest.mark.full
def test_runs_that_fail_at_once_are_tried_again_at_moments_far_apart(project: Project) -> None:
    count = scaled(2_000, 10_000)
    project.configure("[workflows]\nconcurrency = 50\n")
    project.workflow(
        "a.py",
        """
        @workflow("fails", retries=1, backoff=Backoff(base=100))
        async def fails(payload):
            raise RuntimeError("all at once")
        """,
    )
    project.serve()
    with project.client() as client:
        client.enqueue_many("fails", [None] * count)
    tried = "SELECT run_at - started_at FROM runs WHERE state = 'pending' AND attempts = 1"
    delays = wait_until(lambda: len(rows := project.query(tried)) == count and rows, "all have failed", 60)
    seconds = sorted(delay / 1000 for (delay,) in delays)
    print(f"{count} runs are tried again after {seconds[0]:.1f} to {seconds[-1]:.1f} s, σ {statistics.stdev(seconds):.1f} s")
    assert 80 <= seconds[0] < 82 and 118 < seconds[-1] < 130  # the last ones may have waited for their COMMIT
    assert statistics.stdev(seconds) > 10
