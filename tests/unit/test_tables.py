"""Tables at the widths of terminals and in pipes: what matters keeps its width, and nothing is lost in a pipe."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from tako_lite.cli.main import main
from tako_lite.tui.groups import groups_table
from tako_lite.tui.listing import UNBOUNDED, Column, Listing, folded
from tako_lite.tui.run import run_view
from tako_lite.tui.tables import runs_table, schedules_table, settings_table, triggers_table, workflows_table
from tako_lite.tui.text import took
from tako_lite.tui.traces import without_our_frames
from tests.support.snapshots import NOW, group, run

WIDTHS = (80, 100, 120, 200, UNBOUNDED)
LONG_NAME = "import-" + "x" * 121
ERROR = {"type": "ValueError", "message": "could not convert string to float: 'three'", "reason": "failed"}


def rendered(renderable: RenderableType, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, highlight=False, emoji=False).print(renderable)
    return out.getvalue()


def whole(text: str) -> str:
    """A text without what folding puts into it."""
    return "".join(text.split())


def described(**changes: Any) -> dict[str, Any]:
    about = {"due": 12, "running": 1, "fallback": "wait", "allowed_tenants": ["acme", "globex"], "workflows": ["a", "b"]}
    return {**group(), **about, "description": "the pictures of the shop, in three sizes each", **changes}


@pytest.mark.parametrize("width", WIDTHS)
def test_runs_show_workflow_state_and_error_whole(width: int) -> None:
    runs = [run(workflow="signup-confirmation-mail", state="dead", error=ERROR), run()]
    text = rendered(runs_table(runs, NOW), width)

    assert "signup-confirmation-mail" in text
    assert "failed: ValueError: could not convert string to float: 'three'" in text
    assert max(map(cell_len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_a_name_of_128_characters_is_shown_whole(width: int) -> None:
    lines = rendered(runs_table([run(workflow=LONG_NAME)], NOW), width).splitlines()

    start = lines[0].index("workflow")
    column = [line[start:].split("  ")[0] for line in lines[1:]]
    assert "".join(column) == LONG_NAME
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_a_group_is_folded_into_two_lines_where_one_is_too_long(width: int) -> None:
    titles, first, second = rendered(groups_table([described(name="thumbnails-of-pictures")]), width).splitlines()

    assert titles.split()[:4] == ["group", "state", "servers", "workers"]
    assert first.split()[:2] == ["thumbnails-of-pictures", "active"]
    assert second.startswith("  fallback wait  tenants acme, globex  workflows 2  the pictures of the shop")


def test_a_group_has_one_line_in_a_pipe() -> None:
    titles, line = rendered(groups_table([described(description="x" * 300)]), UNBOUNDED).splitlines()

    assert titles.split()[-4:] == ["fallback", "tenants", "workflows", "description"]
    assert line.endswith("  " + "x" * 300)


def test_the_least_important_columns_go_first() -> None:
    columns = (Column("name"), Column("minor", rank=2), Column("major", rank=1))
    rows = [[("a" * 20, ""), ("b" * 20, ""), ("c" * 20, "")]]

    shown = {width: rendered(Listing(columns, rows), width).split()[: -1 or None] for width in (64, 63, 41)}

    assert [word for word in shown[64] if word.isalpha()][:3] == ["name", "minor", "major"]
    assert "minor" not in shown[63]
    assert "major" in shown[63]
    assert "major" not in shown[41]


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_wide_characters_stay_within_the_screen_and_in_their_columns(width: int) -> None:
    name = "注文を受け付ける仕事" * 6
    text = rendered(runs_table([run(workflow=name, state="dead", error={"type": "E", "message": name * 3}), run()], NOW), width)

    assert max(map(cell_len, text.splitlines())) <= width
    if width == UNBOUNDED:
        assert name in text
        assert name * 3 in text


@pytest.mark.parametrize("width", WIDTHS)
def test_every_list_fits_its_width_and_ends_no_line_with_blanks(width: int) -> None:
    trigger = {
        "name": LONG_NAME, "group": LONG_NAME, "every_s": 30.0, "starts": LONG_NAME, "started": 4, "evaluated_at": None,
        "next_at": None, "trouble": None, "evaluating": False, "paused": True, "cursor": {"k": "v" * 90}, "last_error": ERROR,
    }  # fmt: skip
    schedule = {"workflow": LONG_NAME, "cron": "0 3 * * *", "timezone": "America/Argentina/Buenos_Aires", "next_at": None,
                "last_at": None, "paused": False}  # fmt: skip
    workflow = {"name": LONG_NAME, "group": LONG_NAME, "file": "w/" + "f" * 90, "line": 3, "schedule": None, "retries": 2}
    setting = {"value": "v" * 300, "source": "[servers.lax.workflows.media]"}
    for table in (
        triggers_table([trigger], NOW),
        schedules_table([schedule], NOW),
        workflows_table([workflow]),
        settings_table({"description": setting}),
        runs_table([run(error=None, finished_at=None)], NOW),
    ):
        lines = rendered(table, width).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert [line for line in lines if line != line.rstrip()] == []
    assert whole(setting["value"]) in whole(rendered(settings_table({"description": setting}), UNBOUNDED))


def test_what_goes_to_a_pipe_is_whole_and_has_no_blanks_at_the_ends_of_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "tako.toml").write_text(f'[workflows.media]\ndescription = "{"d" * 400}"\n')
    (tmp_path / "workflows/jobs.py").write_text(
        f'from tako_lite import workflow\n\n\n@workflow("{LONG_NAME}", worker="media")\ndef resize(p): pass\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    payload = json.dumps({"key": "v" * 5_000})
    assert main(["enqueue", LONG_NAME, payload, "--json"]) == 0
    id = json.loads(capsys.readouterr().out)["id"]
    for words in (
        ["runs"],
        ["show", id],
        ["groups"],
        ["groups", "media"],
        ["workflows"],
        ["status"],
        ["config"],
        ["schedules"],
    ):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if line != line.rstrip()] == [], words
        assert "…" not in out, words
        if words[0] in ("runs", "show", "workflows"):
            assert LONG_NAME in out
        if words[0] in ("groups", "config"):
            assert "d" * 400 in out
        if words[0] == "show":
            assert "v" * 5_000 in out


def test_text_is_folded_between_words_and_only_a_long_word_is_broken() -> None:
    assert folded("one two three", 7) == ["one two", "three"]
    assert folded("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert folded("", 4) == [""]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250ms"), (0.9996, "1s"), (2.98, "3s"), (3.02, "3s"), (5.996, "6s"), (59.7, "1m"), (90.2, "1m30s"), (-1, "0ms")],
)
def test_how_long_something_took_is_rounded(seconds: float, shown: str) -> None:
    assert took(seconds) == shown


def steps(count: int) -> list[dict[str, Any]]:
    (step,) = run()["steps"]
    return [{**step, "name": f"step-{number:03d}"} for number in range(count)]


def test_of_200_steps_a_terminal_shows_the_first_and_the_last() -> None:
    shown = rendered(run_view(run(steps=steps(200)), NOW, every_step=False), 80)

    assert all(f"step-{number:03d}" in shown for number in (0, 19, 180, 199))
    assert "step-100" not in shown
    assert "160 steps between" in shown
    assert "--steps" in shown
    assert "step-100" in rendered(run_view(run(steps=steps(200)), NOW), 80)


def test_a_wait_that_timed_out_says_so() -> None:
    (step,) = run()["steps"]
    shown = rendered(run_view(run(steps=[{**step, "result": None, "timed_out": True}]), NOW), 80)

    assert "timed out" in shown


def test_a_parent_that_died_of_its_child_names_it() -> None:
    (step,) = run()["steps"]
    child = "019aa000-0000-7000-8000-00000000c41d"
    failed = {**step, "state": "failed", "error": {**ERROR, "child_id": child, "state": "dead"}}
    error = {"type": "ChildFailed", "message": "resize ended dead: no cat", "traceback": None, "reason": None}
    shown = rendered(run_view(run(state="dead", error=error, steps=[failed]), NOW), 200)

    assert shown.count(f"child {child} is dead") == 2


TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/lib/tako_lite/worker/executor.py", line 90, in _execute
    result = await handler(payload, step)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/ann/tako_lite/workflows/mail.py", line 12, in send
    await step.run("smtp", deliver, payload)
  File "/srv/lib/tako_lite/step.py", line 120, in run
    return await self._engine.run(name, body)
  File "/home/ann/tako_lite/workflows/mail.py", line 30, in deliver
    raise ValueError("no\\n    such\\naddress")
ValueError: no
    such
address
"""


def test_a_traceback_has_the_frames_of_the_user_and_none_of_ours() -> None:
    shown, left_out = without_our_frames(TRACEBACK)

    assert left_out == 5
    assert shown.splitlines() == [line for at, line in enumerate(TRACEBACK.splitlines()) if at not in (1, 2, 3, 6, 7)]
    text = rendered(run_view(run(state="dead", error={**ERROR, "traceback": TRACEBACK}), NOW), 80)
    assert "executor.py" not in text
    assert text.index("download") < text.index("Traceback")
    assert "5 lines within tako-lite left out" in text


def test_a_traceback_that_is_all_ours_stays_as_it_is() -> None:
    ours = 'Traceback (most recent call last):\n  File "/x/tako_lite/step.py", line 1, in run\n    a()\nStepError: twice'

    assert without_our_frames(ours) == (ours, 0)
