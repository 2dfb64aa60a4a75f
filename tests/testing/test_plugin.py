"""The plugin for pytest, in a process of its own; `TakoTestCase`; and how little starts with pytest."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROJECT = {
    "tako.toml": "",
    "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\npythonpath = .\nfilterwarnings = error\n",
    "workflows/orders.py": """
        from tako_lite import Step, workflow

        mails = []

        async def mail(number: int) -> int:
            mails.append(number)
            return number

        @workflow("order")
        async def order(payload: dict, step: Step) -> int:
            print("sending", payload["number"])
            return await step.run("mail", mail, payload["number"])
    """,
    "test_orders.py": """
        import asyncio
        import unittest

        import pytest
        from tako_lite import Client, TakoError
        from tako_lite.testing import Tako, TakoTestCase
        from workflows.orders import mail, mails, order

        client = Client()  # as an application has it at the top of a module

        def test_passes(tako: Tako):
            assert client.get(client.enqueue("order", {"number": 0}).id)["state"] == "pending"
            tako.clear()
            assert order.enqueue({"number": 1}).state == "pending"
            tako.run_until_idle()
            assert [run.succeeded for run in tako.runs()] == [1]

        def test_fails(tako: Tako):
            tako.run(order, {"number": 2})
            assert False, "on purpose"

        def test_leaves_a_dead_run(tako: Tako):
            tako.stub(order, step="mail", raises=KeyError)
            tako.run(order, {"number": 3}, retries=0)

        def test_forgets_the_fixture():
            with pytest.raises(TakoError, match="a test would have used the queue of this project") as error:
                order.enqueue({"number": 4})
            assert "use the fixture `tako`" in error.value.hint
            with pytest.raises(TakoError, match="a test would have used"):
                Client(".").enqueue("order", {"number": 4})
            with pytest.raises(TakoError, match="a test would have used"):
                client.enqueue("order", {"number": 4})

        def test_runs_on_a_loop_of_its_own(tako: Tako):
            async def main():
                run = await tako.aio.run(order, {"number": 5})
                return run.succeeded

            assert asyncio.run(main()) == 5

        @pytest.mark.tako_kill(order, {"number": 6})
        def test_survives(tako_kill):
            tako_kill(check=lambda: mails == [6], reset=mails.clear)

        def test_a_real_daemon(tako_project, tako_session_project):
            assert tako_project.run("order", {"number": 8})["result"] == 8
            assert list(tako_session_project.catalog.workflows) == ["order"]

        class OrderTests(TakoTestCase):
            def test_passes(self) -> None:
                assert self.tako.run(order, {"number": 7}).succeeded == 7

            def test_leaves_a_stub(self) -> None:
                self.tako.stub(order, step="male", returns=1)
    """,
}


def _pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    for name, text in PROJECT.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return folder


def test_a_project_is_tested_with_the_plugin(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(project / "tmp"))
    out = _pytest(project, "--tako-keep")
    assert "10 passed" in out, out
    failed = set(re.findall(r"^(?:FAILED|ERROR) test_orders.py::(\S+)", out, re.MULTILINE))
    expected = {"test_fails", "test_leaves_a_dead_run", "test_survives[after:mail]", "OrderTests::test_leaves_a_stub"}
    assert failed == expected
    assert "- tako-lite runs -" in out
    assert re.search(r'[0-9a-f]{8}  succeeded  order  {"number": 2}', out)
    assert "sending 2" in out
    assert "died, and the test did not look at it: KeyError" in out
    assert "`mail` ran twice, and check() is false" in out
    assert not (project / ".tako").exists()
    (kept,) = re.findall(r"tako-lite -c (\S+) show", out)
    shown = subprocess.run([sys.executable, "-m", "tako_lite", "-c", kept, "runs"], capture_output=True, text=True, check=True)
    assert "order" in shown.stdout


def test_pytest_starts_without_anything_of_tako_lite(project: Path) -> None:
    (project / "empty").mkdir()
    script = """if True:
        import sys, pytest
        pytest.main(["--collect-only", "-q", "empty"])
        print(sorted(name for name in sys.modules if "tako_lite" in name))
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['pytest_tako_lite']"
