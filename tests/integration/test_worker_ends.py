"""How workers end in order: what runs then, how long it may take, and whose threads are whose until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import Project, wait_until
from tests.support.run_logs import texts, wait_for_text, written

EXITING = """
    import atexit, concurrent.futures, tempfile, weakref
    from pathlib import Path

    Path("scratch").mkdir(exist_ok=True)
    FOLDER = tempfile.TemporaryDirectory(dir="scratch")
    POOL = concurrent.futures.ThreadPoolExecutor()

    class Thing:
        pass

    THING = Thing()
    weakref.finalize(THING, witness, "finalized")

    atexit.register(lambda: witness("closed", value=asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, 7))))

    @atexit.register
    def flush():
        witness("flushed", states=[thread.name for thread in threading.enumerate() if not thread.daemon])
        print("flushed at the end", end="")

    @workflow("a")
    async def a(payload):
        POOL.submit(lambda: (time.sleep(0.2), witness("worked")))
        threading.Thread(target=lambda: (time.sleep(0.3), witness("threaded"))).start()
        return os.getpid()
"""
ENDS = ["flushed", "finalized", "worked", "threaded", "closed"]


@pytest.mark.parametrize("end", ["idle", "max_runs", "reload", "stop", "removed"])
def test_exit_handlers_run_at_every_orderly_end(project: Project, end: str) -> None:
    options = {"idle": 'idle_timeout = "50ms"', "max_runs": "max_runs = 1"}.get(end, 'idle_timeout = "1h"')
    project.configure(f"[workflows]\n{options}\n")
    file = project.workflow("a.py", EXITING)
    project.serve()
    assert project.run("a")["state"] == "succeeded"
    if end == "reload":
        file.write_text(file.read_text() + "\n")
        project.call("reload")
    elif end == "removed":
        file.unlink()
        project.call("reload")
    elif end == "stop":
        assert project.stop() == 0
    for kind in ENDS:
        project.wait_for_fact(kind)
    found = wait_for_text(project, "flushed at the end")
    assert texts(found, None)[-1] == "flushed at the end"
    wait_until(lambda: not list((project.root / "scratch").iterdir()), "the temporary folder is gone")
    assert [len(project.facts(kind)) for kind in ENDS] == [1] * len(ENDS)
    (flushed,) = project.facts("flushed")
    assert flushed["states"] == ["MainThread"]


def test_exit_handlers_that_fail_or_exit_are_printed_and_stop_no_others(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "50ms"\n')
    project.workflow(
        "a.py",
        """
        import atexit
        atexit.register(witness, "last")
        atexit.register(sys.exit, 3)

        @atexit.register
        def fails():
            raise ValueError("what the exit handler says")

        @atexit.register
        def counts():
            witness("loop", value=asyncio.run(asyncio.sleep(0, 5)))

        @workflow("a")
        async def a(payload):
            return 1
        """,
    )
    project.serve()
    project.run("a")
    project.wait_for_fact("last")
    assert project.wait_for_fact("loop")[0]["value"] == 5
    found = "\n".join(line["text"] for line in wait_for_text(project, "what the exit handler says"))
    assert "Traceback" in found and "a.py" in found
    wait_until(lambda: project.group("default")["state"] == "zero", "the worker is gone")


@pytest.mark.parametrize("how", ["atexit", "thread", "task"])
def test_an_end_that_hangs_is_over_at_the_drain_timeout(project: Project, how: str) -> None:
    project.configure('[workflows]\nidle_timeout = "50ms"\ndrain_timeout = "2s"\n')
    project.workflow(
        "a.py",
        f"""
        import atexit
        atexit.register(witness, "flushed")
        TASKS = []

        async def stays():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass

        @workflow("a")
        async def a(payload):
            if {how!r} == "atexit":
                atexit.register(time.sleep, 60)
            elif {how!r} == "thread":
                threading.Thread(target=time.sleep, args=(60,)).start()
            else:
                TASKS.append(asyncio.Task(stays()))
            return 1
        """,
    )
    project.serve()
    project.run("a")
    if how != "atexit":
        project.wait_for_fact("flushed")
    wait_until(lambda: project.group("default")["state"] == "zero", "the worker is gone")
    assert project.run("a")["result"] == 1


def test_a_worker_that_ends_flushes_open_files_and_removes_remaining_shared_memory(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "50ms"\n')
    project.workflow(
        "a.py",
        """
        from multiprocessing.shared_memory import SharedMemory
        TEXT = open("text.txt", "a")
        BYTES = open("bytes.bin", "wb")
        CLOSED = open("closed.txt", "w")
        CLOSED.close()

        @workflow("a")
        async def a(payload):
            TEXT.write("kept ")
            BYTES.write(b"kept")
            return SharedMemory(create=True, size=100).name
        """,
    )
    project.serve()
    memory = Path("/dev/shm") / project.run("a")["result"]
    wait_until(lambda: project.group("default")["state"] == "zero", "the worker is gone")
    assert (project.root / "text.txt").read_text() == "kept "
    assert (project.root / "bytes.bin").read_bytes() == b"kept"
    assert not memory.exists()


def test_a_worker_whose_import_fails_runs_exit_handlers_and_reports_its_error(project: Project) -> None:
    project.workflow(
        "a.py",
        """
        import atexit
        atexit.register(witness, "flushed")
        raise ValueError("at import")
        @workflow("a")
        async def a(payload): ...
        """,
    )
    project.serve()
    project.enqueue("a")
    project.wait_for_fact("flushed")
    error = wait_until(lambda: project.group("default")["last_error"], "the group fails")
    assert "ValueError: at import" in error


def test_a_large_result_that_comes_as_the_worker_ends_is_not_lost(project: Project) -> None:
    project.configure("[workflows]\nmax_runs = 1\n")
    project.workflow(
        "a.py",
        """
        import atexit
        atexit.register(time.sleep, 0.2)
        @workflow("a")
        async def a(payload):
            witness("ran")
            while not os.path.exists("go"):
                await asyncio.sleep(0.01)
            return "x" * 900_000
        """,
    )
    project.serve()
    run = project.enqueue("a")
    project.wait_for_fact("ran")
    (project.root / "go").touch()
    assert project.stop() == 0
    project.serve()
    assert len(project.wait(run)["result"]) == 900_000
    assert len(project.facts("ran")) == 1


def test_what_exit_handlers_enqueue_arrives(project: Project) -> None:
    project.configure('[workflows]\nidle_timeout = "50ms"\n')
    project.workflow(
        "a.py",
        """
        import atexit

        @workflow("last", worker="other")
        async def last(payload):
            witness("last")

        @workflow("a")
        async def a(payload):
            atexit.register(last.enqueue, None)
        """,
    )
    project.serve()
    project.run("a")
    project.wait_for_fact("last")


# Threads


def test_blocking_calls_of_one_run_keep_no_other_run_waiting(project: Project) -> None:
    project.configure("[workflows]\nconcurrency = 8\n")
    project.workflow(
        "a.py",
        """
        def hold():
            while not os.path.exists("go"):
                time.sleep(0.02)

        @workflow("hog")
        async def hog(payload):
            await asyncio.gather(*(asyncio.to_thread(hold) for _ in range(100)))

        @workflow("fan")
        async def fan(payload, step: Step):
            await asyncio.gather(*(step.run(f"page-{number}", hold) for number in range(100)))

        @workflow("quick")
        async def quick(payload, step: Step):
            await step.run("nothing", str, 1)
            return await asyncio.to_thread(threading.active_count)

        @workflow("quick-plain")
        def quick_plain(payload, step: BlockingStep):
            return step.run("nothing", str, 1)
        """,
    )
    project.serve()
    hogs = [project.enqueue(workflow) for workflow in ("hog", "fan", "hog")]
    for run_id in hogs:
        project.wait_for_state(run_id, "running")
    assert 96 <= project.run("quick")["result"] <= 120
    assert project.run("quick-plain")["result"] == "1"
    (project.root / "go").touch()
    assert [project.wait(run_id)["state"] for run_id in hogs] == ["succeeded"] * 3
    left = wait_until(lambda: (count := project.run("quick")["result"]) <= 40 and count, "threads end")
    assert left
    assert not [line for line in written(project) if "Traceback" in line["text"]]
