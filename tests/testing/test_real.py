"""`TestProject`, and what is tested with a real daemon: deaths of real workers, and the command `replay`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite.errors import BadInput
from tako_lite.testing import Tako, TestProject
from tests.support.project import is_gone, wait_until

ORDERS = """
    import time
    from pathlib import Path
    from tako_lite import BlockingStep, Step, workflow

    async def charge(number: int) -> int:
        with Path("CHARGES").open("a") as file:
            file.write(f"{number}\\n")
        return number

    @workflow("order", retries=0)
    async def order(payload: int, step: Step) -> list[object]:
        charged = await step.run("charge", charge, payload)
        await step.sleep("nap", "1h")
        return [charged, await step.wait_for("approval")]

    def wait_for(file: str) -> None:
        while not Path(file).exists():
            time.sleep(0.01)

    @workflow("held")
    async def held(payload: str, step: Step) -> str:
        await step.run("wait", wait_for, payload)
        return "held"

    @workflow("plain")
    def plain(payload: int, step: BlockingStep) -> int:
        print("working")
        return step.run("double", lambda: 2 * payload)
"""


@pytest.fixture(scope="module")
def charges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workers have charged."""
    return tmp_path_factory.mktemp("charges") / "charges"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, charges: Path) -> Iterator[TestProject]:
    with TestProject(tmp_path_factory.mktemp("real")) as project:
        project.workflow("orders.py", ORDERS.replace("CHARGES", str(charges)))
        project.serve()
        yield project


def test_time_and_signals_move_a_run_on_a_real_daemon(live: TestProject) -> None:
    id = live.enqueue("order", 1)
    assert live.await_state(id, "waiting")["steps"][0]["result"] == 1
    live.signal("approval", "ann")
    live.advance("1h")
    assert live.wait(id)["result"] == [1, "ann"]
    assert live.run("plain", 4)["result"] == 8
    assert "working" in live.logs()


def test_a_run_survives_the_deaths_of_its_worker_and_of_the_daemon(live: TestProject, tmp_path: Path) -> None:
    id = live.enqueue("held", str(tmp_path / "go"))
    live.await_state(id, "running")
    live.kill_worker()
    live.until(lambda: live.get(id)["crashes"] == 1, "the crash is charged")
    live.kill_daemon()
    live.serve()
    (tmp_path / "go").touch()
    run = live.wait(id)
    assert (run["result"], run["crashes"], run["attempts"]) == ("held", 1, 1)
    with pytest.raises(AssertionError, match="group nowhere has no worker"):
        live.kill_worker("nowhere")


def test_the_daemon_ends_with_the_process_of_the_test(tmp_path: Path) -> None:
    script = """if True:
        import os, sys
        from pathlib import Path
        from tako_lite.testing import TestProject
        print(TestProject(Path(sys.argv[1]) / "killed").serve(), flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    wait_until(lambda: is_gone(pid), f"the daemon {pid} ends")


def test_a_real_worker_dies_at_each_point(live: TestProject, charges: Path) -> None:
    with Tako(live.folder) as tako:
        report = tako.kill_at_every_step("plain", 1, processes=True)
        points = [variant.label for variant in report.variants]
        assert points == ["start", "before:double", "after:double", "stored:double", "end"]
        with pytest.raises(AssertionError) as failure:
            tako.kill_at_every_step(
                "order",
                7,
                script=[("signal", "approval")],
                check=lambda: charges.read_text() == "7\n",
                reset=lambda: charges.write_text(""),
                processes=True,
            )
    assert "after:charge   `charge` ran twice, and check() is false" in str(failure.value)
    assert "1 point with problems" in str(failure.value)


def test_what_cannot_reach_another_process_is_refused(live: TestProject) -> None:
    with Tako(live.folder, strict=False) as tako:
        tako.stub("plain", step="double", returns=1)
        with pytest.raises(BadInput, match="stubs do not reach the workers of another process"):
            tako.kill_at_every_step("plain", 1, processes=True)


def test_the_command_replay_compares_parked_runs_with_the_code(live: TestProject) -> None:
    id = live.enqueue("order", 2)
    live.await_state(id, "waiting")
    assert _replay(live, "--all-waiting") == (0, f"{id[-8:]}  order  fits up to nap\n1 of 1 run fit\n")
    live.workflow("orders.py", ORDERS.replace('"charge", charge', '"charge-card", charge'))
    code, out = _replay(live, id[-8:], "--json")
    (run,) = json.loads(out)["runs"]
    assert (code, run["fits"], run["frontier"]) == (1, False, ["charge-card"])
    assert run["differences"][0] == "stored step `charge` was not reached again; was it renamed to `charge-card`?"
    live.workflow("orders.py", ORDERS)
    with live.client() as client:
        client.cancel(id)
    assert _replay(live, "--all-waiting") == (0, "no run is waiting\n")


def _replay(project: TestProject, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tako_lite", "replay", *arguments]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout
