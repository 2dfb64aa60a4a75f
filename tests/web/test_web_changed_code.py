"""Changed code and files that the daemon has not read, on the dashboard."""

from __future__ import annotations

from tako_lite.records import new_id
from tests.support.project import Project, wait_until
from tests.support.web import JSON, Dashboard, text_of

ORDER = """
@workflow("{name}", on_changed_steps="{mode}")
async def order(payload, step: Step):
    await step.run("{step}", lambda: 1)
    await step.wait_for("go-" + step.run_id)
"""


def renamed(shop: Project, name: str, mode: str) -> str:
    """A run whose step has another name by now, after its wait."""
    shop.add(f"{name}.py", ORDER.format(name=name, mode=mode, step="charge"))
    id = shop.enqueue(name)
    shop.wait_for_state(id, "waiting")
    shop.add(f"{name}.py", ORDER.format(name=name, mode=mode, step="bill"))
    shop.command("signal", f"go-{id}")
    return id


def test_a_held_run_says_what_to_do_and_can_be_continued(shop: Project, web: Dashboard) -> None:
    id = renamed(shop, "held", "hold")
    wait_until(lambda: shop.get(id)["hold"] == "changed_steps", "the run is held")
    page = text_of(web.page(f"/runs/{id}"))
    assert "It is held, because its code has changed: stored step `charge` was not reached again; was it renamed?" in page
    assert "Continue" in page
    said = "1 run of held is held, because the code has changed"
    wait_until(lambda: said in text_of(web.page("/")), "the first page says so")
    assert web.post("/do/run_now", {"target": id, "next": "/"}).status_code in (200, 303)
    assert shop.wait(id)["state"] == "succeeded"


def test_a_run_that_did_not_reach_a_stored_step_has_a_warning_and_its_hash(shop: Project, web: Dashboard) -> None:
    id = renamed(shop, "warned", "warn")
    code = shop.wait(id)["code"]
    page = text_of(web.page(f"/runs/{id}"))
    assert "stored step `charge` was not reached again; was it renamed?" in page
    assert code in page


def test_the_first_page_names_waiting_runs_whose_workflow_is_gone(shop: Project, web: Dashboard) -> None:
    shop.add("gone.py", ORDER.format(name="gone", mode="warn", step="charge"))
    id = shop.enqueue("gone")
    shop.wait_for_state(id, "waiting")
    (shop.root / "workflows" / "gone.py").unlink()
    shop.call("reload")
    said = "1 run of gone waits, and no workflow file defines gone any more"
    wait_until(lambda: said in text_of(web.page("/")), "the first page says so")
    shop.command("cancel", id)


def test_the_form_of_a_workflow_that_the_daemon_has_not_read_says_so(shop: Project, web: Dashboard) -> None:
    shop.workflow("late.py", ORDER.format(name="late", mode="warn", step="charge"))
    reply = web.post("/do/enqueue", {"target": "late", "payload": "null", "request": new_id(), "mode": "json"}, **JSON)
    assert "the daemon has not read that file yet: tako-lite reload" in reply.text
