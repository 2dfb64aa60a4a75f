"""The example workflows of the documentation, each tested as a user would test it: in at most ten lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako_lite.testing import Tako
from tests.docs.story import ROOT, files

PREAMBLES = {
    "workflows": """
from dataclasses import dataclass
from tako_lite import Step, workflow

@dataclass
class Order:
    number: int

def reserve(*arguments): print(*arguments)
download = resize = upload = ship = remind = reserve
""",
    "schedules": "def send_report(): print('sent')\n",
}
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def tako(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tako]:
    """A Tako with the workflows of the page that the test names, and of those of its blocks that define one."""
    page, *blocks = request.node.get_closest_marker("tako").args
    text = (ROOT / page).read_text()
    found = {name: source for name, source in files(text).items() if not blocks and name.startswith("workflows/")}
    for block in _BLOCK.findall(text):
        if any(f'@workflow("{name}"' in block for name in blocks):
            found[f"workflows/part_{len(found)}.py"] = block
    for name, source in found.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        preamble = PREAMBLES.get(Path(page).stem, "")
        (tmp_path / name).write_text(f"{preamble}{source}".replace("/srv/inbox", str(tmp_path)))
    (tmp_path / "chat.py").write_text("def post(text): print(text)\n")
    (tmp_path / "tako.toml").write_text(TOML)
    with Tako(tmp_path) as made:
        yield made


TOML = """
[secrets]
smtp = "env:SMTP_PASSWORD"
[workflows.email]
secrets = ["smtp"]
[workflows.free]
[workflows.gold]
[tenants.acme]
worker = "gold"
env = { BUCKET = "acme-files" }
"""


@pytest.mark.tako("README.md")
def test_a_thumbnail_is_stored_under_its_width(tako: Tako) -> None:
    tako.stub("thumbnail", step="resize", do=lambda file, width: f"public/{width}/{file}")
    assert tako.run("thumbnail", {"file": "cat.jpg"}).succeeded == {"thumbnail": "public/320/cat.jpg"}
    tako.run("thumbnail", {"file": 1}).failed_with("BadPayload")


@pytest.mark.tako("README.md")
def test_a_mail_that_cannot_be_sent_is_tried_again(tako: Tako) -> None:
    tako.fail("password-reset", "send", times=5, error=ConnectionError)
    run = tako.run("password-reset", {"to": "ann@shop.example"})
    assert (run.succeeded, run.attempts) == ("sent", 6)


@pytest.mark.tako("README.md")
def test_an_order_is_confirmed_after_its_approval(tako: Tako) -> None:
    run = tako.enqueue("order", {"number": 17})
    tako.run_until_idle()
    tako.signal("approval:order-17", {"by": "bob"}, expect_waiter=True)
    tako.run_until_idle(skip=True)
    assert run.succeeded == "approved by bob"
    assert "mail to ann@shop.example: Order 17 is on its way" in run.log


@pytest.mark.tako("README.md")
def test_an_order_without_approval_is_cancelled_after_three_days(tako: Tako) -> None:
    run = tako.enqueue("order", {"number": 17})
    tako.advance("71h")
    assert run.waits_for == "signal approval:order-17"
    tako.advance("1h")
    assert run.cancelled == "nobody approved it within three days"


@pytest.mark.tako("README.md")
def test_an_order_survives_a_crash_at_each_point(tako: Tako) -> None:
    tako.kill_at_every_step("order", {"number": 17}, script=[("signal", "approval:order-17", {"by": "bob"})])


@pytest.mark.tako("docs/workflows.md")
def test_an_image_is_processed_in_three_steps(tako: Tako) -> None:
    for step in ("download", "resize"):
        tako.stub("process-image", step=step, returns=f"{step}.jpg")
    upload = tako.spy("process-image", "upload")
    assert tako.run("process-image", {"key": "a.jpg"}).succeeded == {"thumb": "thumb/a.jpg"}
    assert [call.args for call in upload.calls] == [("resize.jpg", "thumb/a.jpg")]


@pytest.mark.tako("docs/workflows.md", "order")
def test_an_order_is_shipped_after_its_approval(tako: Tako) -> None:
    run = tako.enqueue("order", {"number": 17})
    tako.signal("approval:17")
    tako.run_until_idle()
    assert (run.succeeded, run.step_names) == ("shipped", ["reserve", "wait_for:approval:17", "ship"])


@pytest.mark.tako("docs/workflows.md", "approve-order")
def test_an_approval_is_asked_for_again_each_day(tako: Tako) -> None:
    run = tako.enqueue("approve-order", {"number": 17})
    tako.advance("2d")
    assert [name for name in run.step_names if name.startswith("remind")] == ["remind-0", "remind-1"]
    tako.signal("approval:17", {"by": "bob"})
    tako.run_until_idle()
    assert run.succeeded == "approved by bob"


@pytest.mark.tako("docs/triggers.md")
def test_each_new_file_starts_one_run(tako: Tako) -> None:
    found = tako.poll("new-files")
    assert {"key": "tako.toml"} in [run.payload for run in found]
    assert tako.poll("new-files") == []


@pytest.mark.tako("docs/hooks.md")
def test_a_death_is_posted(tako: Tako) -> None:
    facts = {"run_id": "1", "workflow": "pay", "group": "default", "tenant": None, "attempts": 3, "error": "ValueError"}
    text = {"message": "no money", "reason": None, "finished_at": "2030-01-01T00:00:00Z", "see": "tako-lite show 1"}
    run = tako.run("alert", {**facts, **text})
    assert run.log == "pay died: ValueError: no money\ntako-lite show 1"


@pytest.mark.tako("docs/routing.md")
def test_runs_go_to_the_group_of_their_customer_or_tenant(tako: Tako) -> None:
    assert tako.enqueue("answer", {"customer": {"tier": "gold"}}).group == "gold"
    with tako.tenant("acme"):
        assert tako.run("greet").succeeded == "hello from acme, files in acme-files"
    assert tako.run("invoice", {"number": 4}).succeeded == "invoice 4"


@pytest.mark.tako("docs/schedules.md", "report")
def test_a_report_is_sent_on_working_days(tako: Tako) -> None:
    tako.advance_to("2030-01-06T23:00:00Z", schedules=True)  # a Sunday
    tako.assert_enqueued("report", count=4, state="succeeded")


@pytest.mark.tako("docs/secrets.md", "password-reset")
def test_a_mail_is_sent_with_the_password_of_the_server(tako: Tako) -> None:
    sent = tako.spy("password-reset", "send")
    tako.stub("password-reset", step="send", returns=None)
    assert tako.run("password-reset", {"to": "ann@example.com"}).succeeded is None
    assert sent.calls[0].args == ("ann@example.com",)
