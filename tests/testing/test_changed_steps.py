"""`Tako.reload`: other code under runs that wait, and `on_changed_steps`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tako_lite import BlockingStep, Step, Workflow, workflow
from tako_lite.testing import Tako

STEP_RENAMED = "stored step `charge` was not reached again; was it renamed to `bill`?"


def order(step_name: str = "charge", on_changed_steps: Any = "hold") -> Workflow[..., Any]:
    """A release of the workflow `order`, which charges, waits, and ships."""

    @workflow("order", on_changed_steps=on_changed_steps)
    async def handler(payload: int, step: Step) -> str:
        await step.run(step_name, charged.append, step_name)
        await step.wait_for("approval")
        return await step.run("ship", str, "shipped")

    return handler


def blocking_order(step_name: str = "charge") -> Workflow[..., Any]:
    @workflow("order", on_changed_steps="hold")
    def handler(payload: int, step: BlockingStep) -> str:
        step.run(step_name, charged.append, step_name)
        step.wait_for("approval")
        return "shipped"

    return handler


charged: list[str] = []


@pytest.fixture(autouse=True)
def nothing_charged() -> None:
    charged.clear()


@pytest.mark.parametrize("release", [order, blocking_order])
def test_a_run_whose_stored_step_was_renamed_is_held_and_does_nothing_again(release: Any) -> None:
    with Tako(workflows=[release()]) as tako:
        run = tako.enqueue("order", 17)
        tako.run_until_idle()
        tako.reload([release("bill")])
        tako.signal("approval")
        tako.run_until_idle()
        assert (run.state, run.hold, run.not_reached, run.attempts) == ("pending", "changed_steps", ["charge"], 0)
        assert charged == ["charge"]
        assert "hold changed_steps" in repr(run)
        with pytest.raises(AssertionError, match="it is held: stored step `charge` was not reached again"):
            run.succeeded  # noqa: B018 -- it raises


def test_a_held_run_continues_once_the_step_has_its_name_again() -> None:
    with Tako(workflows=[order()]) as tako:
        run = tako.enqueue("order", 17)
        tako.run_until_idle()
        tako.reload([order("bill")])
        tako.signal("approval")
        tako.run_until_idle()
        assert run.hold == "changed_steps"
        tako.reload([order()])
        tako.run_until_idle()
        assert (run.succeeded, run.hold, charged) == ("shipped", None, ["charge"])


def test_run_now_lets_a_held_run_execute_what_is_not_stored() -> None:
    with Tako(workflows=[order()]) as tako:
        run = tako.enqueue("order", 17)
        tako.run_until_idle()
        tako.reload([order("bill")])
        tako.signal("approval")
        tako.run_until_idle()
        tako.run_now(run)
        tako.run_until_idle()
        assert (run.succeeded, charged) == ("shipped", ["charge", "bill"])


def test_with_warn_a_renamed_step_is_executed_and_named_in_the_run() -> None:
    with Tako(workflows=[order(on_changed_steps="warn")]) as tako:
        run = tako.enqueue("order", 17)
        tako.run_until_idle()
        tako.reload([order("bill", on_changed_steps="warn")])
        tako.signal("approval")
        tako.run_until_idle()
        assert (run.succeeded, run.not_reached, charged) == ("shipped", ["charge"], ["charge", "bill"])


def test_a_run_that_fits_the_new_code_is_not_held() -> None:
    with Tako(workflows=[order()]) as tako:
        run = tako.enqueue("order", 17)
        tako.run_until_idle()
        tako.reload([order()])
        tako.signal("approval")
        tako.run_until_idle()
        assert (run.succeeded, run.not_reached, charged) == ("shipped", [], ["charge"])


RELEASE = """
from tako_lite import Step, workflow

@workflow("greet", on_changed_steps="hold")
async def greet(payload, step: Step):
    await step.run("STEP", str, payload)
    await step.sleep("nap", "1h")
    return "RESULT"
"""


def test_reload_reads_the_files_of_the_project_again(tmp_path: Path) -> None:
    (tmp_path / "tako.toml").touch()
    (tmp_path / "workflows").mkdir()
    file = tmp_path / "workflows" / "greet.py"
    file.write_text(RELEASE.replace("STEP", "hello").replace("RESULT", "first"))
    with Tako(tmp_path) as tako:
        one = tako.enqueue("greet", "ann")
        tako.run_until_idle()
        file.write_text(RELEASE.replace("STEP", "hello").replace("RESULT", "the second"))
        tako.reload()
        tako.run_until_idle(skip=True)
        assert one.succeeded == "the second"
        two = tako.enqueue("greet", "bob")
        tako.run_until_idle()
        file.write_text(RELEASE.replace("STEP", "good morning").replace("RESULT", "third"))
        tako.reload()
        tako.run_until_idle(skip=True)
        assert (two.hold, two.not_reached) == ("changed_steps", ["hello"])


def test_a_schedule_that_a_release_adds_fires_after_the_reload() -> None:
    @workflow("nightly", schedule="0 2 * * *")
    async def nightly() -> None: ...

    with Tako(workflows=[order()]) as tako:
        tako.reload([order(), nightly])
        tako.advance("3d", schedules=True)
        assert len(tako.runs(workflow="nightly")) == 3
        tako.reload([order()])
        tako.advance("3d", schedules=True)
        assert len(tako.runs(workflow="nightly")) == 3
