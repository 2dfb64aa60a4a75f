"""What the page on deploying says of changed code and of payloads happens as it says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import story
from tests.support.project import Project, wait_until

PAGE = (story.ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
FILES = {
    match[2]: textwrap.dedent(match[1])
    for match in re.finditer(r"^ *```python\n( *# (workflows/\w+\.py)\n.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
}
NEW = FILES["workflows/order.py"]


def line_of_page(words: str) -> str:
    (found,) = [line for line in PAGE.splitlines() if line.startswith(words)]
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    """The project of the page, whose release does not have the new name of the step yet."""
    project = Project(tmp_path)
    for name, source in FILES.items():
        (tmp_path / name).write_text(source.replace('"bill"', '"charge"'))
    project.serve()
    yield project
    project.stop()


def test_a_renamed_step_holds_its_run_and_a_payload_may_lack_new_fields_as_the_page_says(shop: Project) -> None:
    id = shop.enqueue("order", 17)
    shop.wait_for_state(id, "waiting")
    (shop.root / "workflows" / "order.py").write_text(NEW)
    assert story.shape(line_of_page("1 waiting run of order"))[0] in story.shape(shop.command("reload").stdout)

    assert shop.command("signal", "delivered-17").returncode == 0
    wait_until(lambda: shop.get(id)["hold"] == "changed_steps", "the run is held")
    assert line_of_page("stored step `charge`") in shop.command("logs", id).stdout
    held = "1 run of order is held, because the code has changed"
    assert any(held in text for text in shop.status()["warnings"])
    assert shop.command("run-now", "--workflow", "order").returncode == 0
    assert shop.wait(id)["result"] == "done"

    assert shop.wait(shop.enqueue("invoice", {"number": 1}))["result"] == "EUR"
    refused = shop.wait(shop.enqueue("invoice", {"number": 1, "colour": "red"}))
    assert (refused["state"], refused["error"]["reason"]) == ("dead", "bad_payload")
    again = shop.command("retry", refused["id"], "--payload", '{"number": 1}')
    assert again.returncode == 0
