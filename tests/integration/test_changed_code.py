"""Runs that are under way while their code changes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.project import Project, wait_until

WORDS = "stored step `charge` was not reached again; was it renamed"


def order(name: str, step: str = "charge", options: str = "", before: str = "", after: str = "") -> str:
    """A release of a workflow that stores a step, waits, and stores another one."""
    return f"""
@workflow("{name}"{options})
async def order(payload, step: Step):
    {before}
    await step.run("{step}", lambda: witness("body", step="{step}", run=step.run_id))
    await step.wait_for("go-" + step.run_id, timeout="1h")
    {after}
    return await step.run("ship", lambda: "shipped")
"""


HOLD = ', on_changed_steps="hold"'


def parked(live: Project, name: str, source: str) -> str:
    live.add(f"{name}.py", source)
    id = live.enqueue(name)
    live.wait_for_state(id, "waiting")
    return id


def go(live: Project, id: str) -> None:
    with live.client() as client:
        client.signal(f"go-{id}")


def bodies(live: Project, id: str) -> list[str]:
    return [fact["step"] for fact in live.facts("body") if fact["run"] == id]


def log_of(live: Project, id: str) -> str:
    return live.command("logs", id).stdout


def held(live: Project, id: str) -> dict[str, Any]:
    return wait_until(lambda: shown if (shown := live.get(id))["hold"] == "changed_steps" else None, f"{id} is held") or {}


def test_a_run_shows_the_hash_of_the_code_that_it_began_with(live: Project) -> None:
    id = parked(live, "hashed", order("hashed"))
    code = live.get(id)["code"]
    assert re.fullmatch(r"[0-9a-f]{16}", code)
    assert code in live.command("show", id).stdout
    live.add("hashed.py", order("hashed", after="pass  # changed"))
    other = live.enqueue("hashed")
    assert live.wait_for_state(other, "waiting")["code"] != code
    assert live.get(id)["code"] == code
    go(live, id)
    go(live, other)
    assert live.wait(id)["not_reached"] == live.wait(other)["not_reached"] == []
    assert "was not reached" not in log_of(live, id) + log_of(live, other)


def test_a_renamed_step_is_a_warning_in_the_log_and_in_show(live: Project) -> None:
    id = parked(live, "renamed", order("renamed"))
    live.add("renamed.py", order("renamed", "bill"))
    go(live, id)
    run = live.wait(id)
    assert (run["state"], run["not_reached"], bodies(live, id)) == ("succeeded", ["charge"], ["charge", "bill"])
    assert f"warning: {WORDS}?" in log_of(live, id)
    assert f"{WORDS}?" in " ".join(live.command("show", id).stdout.split())
    assert f"renamed (run {id}): {WORDS}?" in live.daemon_log()


def test_a_run_that_parks_again_without_the_step_says_so_and_the_next_attempt_decides_anew(live: Project) -> None:
    id = parked(live, "parks", order("parks"))
    live.add("parks.py", order("parks", "bill", after='await step.wait_for("end-" + step.run_id)'))
    go(live, id)
    wait_until(lambda: live.get(id)["not_reached"] == ["charge"], "the warning")
    assert live.get(id)["state"] == "waiting"
    assert f"{WORDS}?" in log_of(live, id)
    live.add("parks.py", order("parks", after='await step.wait_for("end-" + step.run_id)'))
    with live.client() as client:
        client.signal(f"end-{id}")
    assert live.wait(id)["not_reached"] == ["bill"]


def test_a_held_run_executes_nothing_new_and_says_what_to_type(live: Project) -> None:
    id = parked(live, "held", order("held", options=HOLD))
    live.add("held.py", order("held", "bill", options=HOLD))
    go(live, id)
    shown = held(live, id)
    assert (shown["state"], shown["attempts"], shown["not_reached"], bodies(live, id)) == ("pending", 0, ["charge"], ["charge"])
    why = live.command("why", id).stdout
    for words in ("It is held", f"{WORDS}?", "tako-lite reload", f"tako-lite run-now {id[-8:]}", f"tako-lite cancel {id[-8:]}"):
        assert words in " ".join(why.split())
    assert f"the run is held: {WORDS} to `bill`?; see `tako-lite why {id}`" in log_of(live, id)

    assert live.command("run-now", id[-8:]).returncode == 0
    run = live.wait(id)
    assert (run["state"], run["result"], bodies(live, id)) == ("succeeded", "shipped", ["charge", "bill"])


def test_a_held_run_continues_by_itself_once_the_step_has_its_name_again(live: Project) -> None:
    id = parked(live, "fixed", order("fixed", options=HOLD))
    live.add("fixed.py", order("fixed", "bill", options=HOLD))
    go(live, id)
    held(live, id)
    live.add("fixed.py", order("fixed", options=HOLD, after="pass  # fixed"))
    run = live.wait(id)
    assert (run["state"], run["attempts"], run["not_reached"], bodies(live, id)) == ("succeeded", 1, [], ["charge"])


def test_a_handler_that_returns_without_a_stored_step_is_held_before_its_result_is_stored(live: Project) -> None:
    id = parked(live, "returns", order("returns", options=HOLD))
    live.add("returns.py", f'@workflow("returns"{HOLD})\nasync def order(payload, step: Step):\n    return "early"\n')
    go(live, id)
    assert held(live, id)["result"] is None
    assert live.command("cancel", id).returncode == 0
    assert live.wait(id)["state"] == "cancelled"


@pytest.mark.parametrize("release", ["same", "added behind"])
def test_a_run_whose_stored_steps_are_all_reached_is_not_held(live: Project, release: str) -> None:
    name = f"fits_{release.replace(' ', '_')}"
    id = parked(live, name, order(name, options=HOLD))
    after = "pass  # changed" if release == "same" else 'await step.run("added", lambda: 1)'
    live.add(f"{name}.py", order(name, options=HOLD, after=after))
    go(live, id)
    assert live.wait(id)["state"] == "succeeded"


PARALLEL = """
@workflow("parallel", on_changed_steps="hold"{comment})
async def parallel(payload, step: Step):
    async def branch(name, stored):
        await step.run(f"{{name}}-1", lambda: 1)
        await step.wait_for(f"{{name}}-" + step.run_id, timeout="1h")
        await step.run(f"{{name}}-2", lambda: 2)

    await asyncio.gather(branch("a", 1), branch("b", 2), step.sleep("nap", "10ms"))
"""


def test_parallel_branches_may_be_at_different_steps(live: Project) -> None:
    id = parked(live, "parallel", "import asyncio\n" + PARALLEL.format(comment=""))
    live.add("parallel.py", "import asyncio\n" + PARALLEL.format(comment=",  # changed\n"))
    with live.client() as client:
        client.signal(f"b-{id}")
        wait_until(lambda: "b-2" in {step["name"] for step in live.get(id)["steps"]}, "the other branch ends")
        client.signal(f"a-{id}")
    assert live.wait(id)["not_reached"] == []


BLOCKING = """
@workflow("blocking", on_changed_steps="hold")
def blocking(payload, step: BlockingStep):
    step.{first}
    step.wait_for("go-" + step.run_id, timeout="1h")
"""


@pytest.mark.parametrize("first", ['sleep("nap", 0.01)', 'enqueue("other", "fits_same")', 'signal("told-" + step.run_id)'])
def test_the_steps_of_a_plain_handler_and_those_of_every_kind_wait_too(live: Project, first: str) -> None:
    head = "from tako_lite import BlockingStep\n"
    id = parked(live, "blocking", head + BLOCKING.format(first='run("charge", lambda: 1)'))
    live.add("blocking.py", head + BLOCKING.format(first=first))
    go(live, id)
    assert [step["name"] for step in held(live, id)["steps"]] == ["charge", f"wait_for:go-{id}"]


def test_what_a_handler_did_after_a_failure_may_be_left_out_the_next_time(live: Project) -> None:
    live.add(
        "saga.py",
        """
        @workflow("saga", retries=1, backoff=Backoff(base=0.01))
        async def saga(payload, step: Step):
            def book():
                if step.attempt == 1:
                    raise ValueError("full")
            try:
                await step.run("book", book)
            except ValueError:
                await step.run("undo", lambda: 1)
                raise
        """,
    )
    run = live.wait(live.enqueue("saga"))
    assert (run["state"], run["not_reached"]) == ("succeeded", [])
    assert "was not reached" not in log_of(live, run["id"])


def test_reload_names_the_waiting_runs_of_other_code_and_the_workflows_that_are_gone(live: Project) -> None:
    id = parked(live, "moves", order("moves"))
    gone = parked(live, "vanishes", order("vanishes"))
    (live.root / "workflows" / "vanishes.py").unlink()
    live.workflow("moves.py", order("moves", after="pass  # changed"))
    answer = json.loads(live.command("reload", "--json").stdout)
    about = {found["workflow"]: found for found in answer["other_code"]}
    assert (about["moves"]["runs"], about["moves"]["oldest"]) == (1, id)
    assert [(found["workflow"], found["runs"]) for found in answer["vanished"]] == [("vanishes", 1)]
    said = " ".join(live.command("reload").stdout.split())
    assert f"1 waiting run of moves began with other code, the oldest is {id}: tako-lite replay --all-waiting" in said
    assert "no workflow file defines vanishes any more; 1 run of it waits" in live.daemon_log()
    for run in (id, gone):
        live.command("cancel", run)


def test_a_step_that_starts_a_workflow_of_an_unread_file_says_so(live: Project) -> None:
    live.add(
        "starts.py",
        '@workflow("starts", retries=0)\nasync def starts(payload, step: Step):\n    await step.invoke("it", "late-one")\n',
    )
    live.workflow("late.py", '@workflow("late-one")\nasync def late(payload):\n    pass\n')
    message = live.wait(live.enqueue("starts"))["error"]["message"]
    assert 'no workflow is named "late-one"' in message
    assert "the daemon has not read that file yet: tako-lite reload" in message
