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
    "hooks": "from tako_lite import workflow\n@workflow('send-invoice')\nasync def send_invoice(): ...\n",
    "monitoring": "import os\nfrom urllib.request import urlopen\n",
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
    assert tako.run("report-sales").succeeded is None


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


@pytest.mark.tako("docs/workflows.md", "sync-inventory")
def test_each_workflow_of_one_handler_keeps_to_its_own_limit_and_rate(tako: Tako) -> None:
    exports = [tako.enqueue("export", {"customer": {"id": id}}) for id in (1, 1, 1, 2)]
    others = [tako.enqueue(name) for name in ("sync-inventory", "nightly-report", "send-sms")]
    with tako.tenant("acme"):
        others.append(tako.enqueue("call-crm"))
    tako.run_until_idle(skip=True)
    assert [run.succeeded for run in (*exports, *others)] == [None] * 8
    tako.advance("1d", schedules=True)
    tako.assert_enqueued("nightly-report", count=2, state="succeeded")


@pytest.mark.tako("docs/hooks.md", "page")
def test_a_group_that_cannot_start_is_posted(tako: Tako) -> None:
    about = {"group": "media", "server": "here", "failures": 3, "error": "ImportError", "since": "2030-01-01T00:00:00Z"}
    run = tako.run("page", {**about, "see": "tako-lite groups media"})
    assert run.log == "group media cannot start: ImportError\ntako-lite groups media"


@pytest.mark.tako("docs/hooks.md", "mail-deaths")
def test_deaths_are_mailed_and_posted_through_the_network(tako: Tako) -> None:
    facts = {"run_id": "1", "workflow": "pay", "group": "default", "tenant": None, "attempts": 3, "error": "ValueError"}
    death = {**facts, "message": "none", "reason": None, "finished_at": "2030-01-01T00:00:00Z", "see": "tako-lite show 1"}
    for name, step in (("mail-deaths", "send"), ("post-deaths", "post")):
        calls = tako.spy(name, step).calls
        tako.stub(name, step=step, returns=None)
        assert tako.run(name, death).succeeded is None
        assert "pay" in calls[0].args[0]


@pytest.mark.tako("docs/monitoring.md", "heartbeat")
def test_a_heartbeat_asks_its_address_every_minute(tako: Tako, tmp_path: Path) -> None:
    (tmp_path / "beat").touch()
    with tako.env(HEARTBEAT_URL=(tmp_path / "beat").as_uri()):
        tako.advance("3m", schedules=True)
    tako.assert_enqueued("heartbeat", count=3, state="succeeded")


def test_the_shop_mails_each_subscriber_after_the_approval() -> None:
    with Tako(ROOT / "examples/shop") as tako:
        tako.stub("newsletter", step="send-0", returns=None)
        run = tako.enqueue("newsletter", {"number": 1, "text": "News", "subscribers": ["ann@shop.example"]})
        tako.run_until_idle()
        tako.signal("approval:newsletter-1", {"by": "bob"}, expect_waiter=True)
        tako.run_until_idle()
        assert run.succeeded == {"sent": 1}


def test_the_shop_makes_one_token_for_all_attempts_of_a_mail() -> None:
    with Tako(ROOT / "examples/shop") as tako:
        sent = tako.spy("password-reset", "send").calls
        tako.stub("password-reset", step="send", returns=None)
        run = tako.run("password-reset", {"address": "ann@shop.example"})
        assert run.succeeded is None
        assert sent[0].args[3].endswith(f"{run.steps['token']}\n")


def test_the_shop_reports_its_pictures_each_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Tako(ROOT / "examples/shop") as tako:
        tako.advance("1d", schedules=True)
        (run,) = tako.runs(workflow="nightly-report")
        assert run.succeeded["pictures"] == 0
        pictures = ["1/close-up.webp", "1/160.webp", "1/320.webp", "1/640.webp"]
        for step, made in zip(("close-up", "thumbnail-160", "thumbnail-320", "thumbnail-640"), pictures, strict=True):
            tako.stub("pictures", step=step, returns=made)
        assert tako.run("pictures", {"file": "a.jpg", "folder": "1"}).succeeded == {"pictures": pictures}


def test_the_container_greets_as_its_environment_says() -> None:
    with Tako(ROOT / "examples/container", env={"GREETING": "Hello"}) as tako:
        assert tako.run("greet", "Ann").succeeded == "Hello, Ann!"


def test_every_workflow_of_the_pages_has_a_test() -> None:
    tested = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    sources = [file for folder in ("container", "shop") for file in (ROOT / "examples" / folder).rglob("*.py")]
    text = "".join(file.read_text() for file in (*pages, *sources))
    names = set(re.findall(r'^@(?:workflow|poll)\(\s*"([\w.-]+)"', text, re.MULTILINE))
    without_a_handler = {"send-reset"}
    elsewhere = {"django-task", "mail", "render"}  # tests/frameworks and the page on PostgreSQL
    assert {name for name in names if f'"{name}"' not in tested} <= without_a_handler | elsewhere
