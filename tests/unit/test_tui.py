"""Snapshots rendered to text, at the widths of a split window, a terminal and a wide screen."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from tako_lite.tui.run import run_view
from tako_lite.tui.status import status_lines, status_view
from tako_lite.tui.tables import config_view, runs_table, schedules_table, workflows_table
from tako_lite.tui.text import span, when
from tests.support.snapshots import ID, NOW, group, run

WIDTHS = (40, 80, 200)
HOSTILE = "\x1b[2J\x9b31m[bold red]x[/] :boom: \x07\x00" + "名" * 60 + "\nsecond line"
LONG_AGO = "2030-03-17T17:43:20.000Z"


def rendered(renderable: RenderableType, width: int, *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, emoji=False, force_terminal=terminal)
    console.print(renderable)
    return out.getvalue()


def snapshot(*groups: dict[str, Any], **changes: Any) -> dict[str, Any]:
    daemon = {"pid": 4242, "zygote_pid": 4243, "server": "lax", "version": "0.1.0", "uptime_s": 7300.0}
    shape = {"daemon": daemon, "groups": list(groups), "warnings": [], "queue": {"file_bytes": 4_000_000, "pruned": {}}}
    return {**shape, **changes}


def hostile_renderables(width: int) -> list[RenderableType]:
    error = {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE, "reason": HOSTILE}
    bad_step = {**run()["steps"][0], "name": HOSTILE, "state": "failed", "error": error}
    bad_wait = {"name": HOSTILE, "kind": "signal", "key": HOSTILE, "wake_at": LONG_AGO}
    bad_run = run(workflow=HOSTILE, group=HOSTILE, state="dead", payload={HOSTILE: HOSTILE}, error=error, unique_key=HOSTILE,
                  steps=[bad_step], waits=[bad_wait], progress_note=HOSTILE)  # fmt: skip
    bad_group = group(HOSTILE, state="unhealthy", last_error=HOSTILE)
    queue = {"path": HOSTILE, "durability": "disk"}
    about = {"file": HOSTILE, "name": HOSTILE, "server": HOSTILE, "state_dir": HOSTILE, "queue": queue}
    setting = {"value": {HOSTILE: HOSTILE}, "source": HOSTILE}
    schedule = {"workflow": HOSTILE, "cron": HOSTILE, "timezone": HOSTILE, "next_at": None, "last_at": LONG_AGO, "paused": True}
    workflow = {"name": HOSTILE, "group": HOSTILE, "file": HOSTILE, "line": 3, "schedule": HOSTILE, "retries": 2}
    return [
        status_view(snapshot(bad_group, group(), warnings=[HOSTILE])),
        run_view(bad_run, NOW),
        runs_table([bad_run, run()], NOW),
        schedules_table([schedule], NOW),
        workflows_table([workflow]),
        config_view(about, {HOSTILE: {"env": setting}}),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_from_users_reaches_a_terminal_raw_or_runs_over_its_edge(width: int) -> None:
    for renderable in hostile_renderables(width):
        text = rendered(renderable, width)
        assert not {"\x1b", "\x9b", "\x07", "\x00"} & set(text)
        assert "\\x1b" in text
        assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize(
    ("state", "attempts", "shown"),
    [("pending", 0, 0), ("running", 0, 1), ("waiting", 1, 2), ("pending", 1, 1), ("succeeded", 1, 1), ("dead", 3, 3)],
)
def test_an_attempt_that_is_under_way_is_among_those_that_are_shown(state: str, attempts: int, shown: int) -> None:
    made = run(state=state, attempts=attempts)
    assert f" {shown} of 3" in rendered(run_view(made, NOW), 80)
    assert f" {shown}/3 " in rendered(runs_table([made], NOW), 120)


def test_markup_and_emoji_codes_of_users_are_shown_as_they_are() -> None:
    text = rendered(run_view(run(payload={"note": "[bold]x[/] :boom:"}), NOW), 80)

    assert "[bold]x[/] :boom:" in text


def test_on_a_terminal_the_only_escapes_are_our_own_colours() -> None:
    for renderable in hostile_renderables(80):
        text = rendered(renderable, 80, terminal=True)
        assert "\x1b[2J" not in text
        assert "\x9b" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_status_shows_name_state_workers_and_pending_at_every_width(width: int) -> None:
    text = rendered(status_view(snapshot(group(state="paused"))), width)

    assert all(word in text for word in ("media", "paused", "1/4", "1,234"))
    assert "daemon 4242 on lax" in text


def test_a_wide_status_shows_every_column() -> None:
    lax = {"name": "lax", "host": "lax", "groups": ["media"], "workers": 1, "started_at": LONG_AGO, "lease_until": LONG_AGO}
    servers = [{**lax, "version": "0.1.0"}]
    text = rendered(status_view(snapshot(group(last_error="ImportError: no module\nmore"), servers=servers)), 200)
    header, row = text.splitlines()[:2]

    titles = "group state workers busy pending waiting oldest done/min failed/min dead servers last error"
    assert " ".join(header.split()) == titles
    assert " ".join(row.split()) == "media active 1/4 3/8 1,234 5 3m 60 2 7 1 ImportError: no module"
    assert "more" not in text


def test_a_wide_status_of_a_file_without_errors_has_no_column_that_says_nothing() -> None:
    header, row = rendered(status_view(snapshot(group(), servers=[])), 200).splitlines()[:2]

    assert " ".join(header.split()) == "group state workers busy pending waiting oldest done/min failed/min dead"
    assert " ".join(row.split()) == "media active 1/4 3/8 1,234 5 3m 60 2 7"


def test_a_narrow_status_puts_the_last_error_below_its_group() -> None:
    text = rendered(status_view(snapshot(group(last_error="ImportError: nope"))), 80)

    lines = text.splitlines()
    assert lines[1].startswith("media")
    assert lines[2] == "  ImportError: nope"


def test_status_says_that_no_daemon_is_running_and_shows_warnings() -> None:
    text = rendered(status_view(snapshot(group(), daemon=None, warnings=["the group medai is used by nobody"])), 80)

    assert "no daemon is running" in text
    assert "warning: the group medai" in text


def test_a_group_at_zero_workers_shows_no_slots() -> None:
    text = rendered(status_view(snapshot(group(state="zero", workers=[], busy=0))), 200)

    assert "0/4" in text
    assert "0/0" not in text


def test_status_lines_are_one_plain_line_for_each_group() -> None:
    lines = status_lines(snapshot(group(), group("email", last_error="boom\nmore")), NOW)

    assert len(lines) == 2
    moment, rest = lines[0].split(" ", 1)
    assert datetime.fromisoformat(moment) == datetime.fromtimestamp(NOW / 1000, UTC)
    assert rest.startswith("media active workers=1/4 busy=3/8 pending=1234")
    assert lines[1].endswith("error=boom")


def test_a_run_shows_its_steps_payload_and_result() -> None:
    text = rendered(run_view(run(), NOW), 80)

    assert ID in text
    assert "1 of 3" in text
    assert "50% half of it" in text
    assert '"key": "cat.png"' in text
    assert '"thumb": "t/cat.png"' in text
    assert "download" in text
    assert "250ms" in text


def test_a_dead_run_shows_its_error_reason_and_traceback_and_no_result() -> None:
    error = {"type": "ValueError", "message": "no cat", "traceback": "Traceback: here", "reason": "crashed"}
    text = rendered(run_view(run(state="dead", result=None, error=error), NOW), 80)

    assert "ValueError (crashed): no cat" in text
    assert "Traceback: here" in text
    assert "result" not in text


def test_a_waiting_run_shows_what_it_waits_for() -> None:
    waits = [{"name": "ok", "kind": "signal", "key": "approval:7", "wake_at": "2030-03-17T18:46:40.000Z"}]
    text = rendered(run_view(run(state="waiting", result=None, waits=waits), NOW), 80)

    assert "signal approval:7, until in 1h" in text


def test_a_huge_payload_is_cut_in_the_view() -> None:
    text = rendered(run_view(run(payload="x" * 100_000), NOW), 80)

    assert "--json has all of it" in text
    assert len(text) < 10_000


def test_runs_show_the_last_eight_characters_of_their_ids() -> None:
    text = rendered(runs_table([run()], NOW), 80)

    assert "deadbeef" in text
    assert ID not in text


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"type": "KeyError", "message": "'id'", "reason": None}, "KeyError: 'id'"),
        ({"type": "AssertionError", "message": "", "reason": None}, "AssertionError"),
        ({"type": "ValueError", "message": "boom", "reason": "failed"}, "failed: ValueError: boom"),
        ({"type": "Failed", "message": "no such order", "reason": "failed"}, "failed: no such order"),
        ({"type": "WorkerCrashed", "message": "killed by SIGSEGV", "reason": "crashed"}, "crashed: killed by SIGSEGV"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_in_a_table_has_the_type_of_what_a_handler_raised(error: dict[str, Any], shown: str) -> None:
    of_run = rendered(runs_table([run(state="dead", error=error)], NOW), 200).splitlines()[1]
    assert of_run.split("  ")[-1].strip() == shown
    failed = {**run()["steps"][0], "state": "failed", "error": error}
    assert rendered(run_view(run(steps=[failed]), NOW), 200).splitlines()[-1].endswith(f"  {shown}")


@pytest.mark.parametrize("width", [64, 80, 200])
def test_the_columns_of_runs_stand_in_line_and_a_long_error_goes_below_its_run(width: int) -> None:
    failed = {"type": "名" * 500, "message": "名" * 500}
    text = rendered(runs_table([run(), run(workflow="名" * 10, state="dead", error=failed)], NOW), width)
    titles, first, second, *below = text.splitlines()

    assert first.index("deadbeef") == titles.index("run")
    assert first.index("succ") == titles.index("stat")
    assert cell_len(second[: second.index("dead", 8)]) == titles.index("stat")
    assert len(below) == 3
    assert below[-1].endswith("…")
    assert all(line.startswith("  ") and cell_len(line) <= width for line in below)


def test_a_narrow_screen_still_shows_which_run_it_is() -> None:
    titles, line = rendered(runs_table([run()], NOW), 30).splitlines()

    assert titles.split() == ["run", "workflow", "state"]
    assert line.split() == ["deadbeef", "resize", "succeeded"]


def test_a_state_has_its_colour_in_a_list_of_runs() -> None:
    text = rendered(runs_table([run(state="dead")], NOW), 80, terminal=True)

    assert "\x1b[1;31mdead" in text


def test_a_long_list_of_runs_is_printed_whole() -> None:
    text = rendered(runs_table([run(id=f"{number:036d}") for number in range(5_000)], NOW), 80)

    assert [line[:8] for line in text.splitlines()[1:]] == [f"{number:08d}" for number in range(5_000)]


@pytest.mark.parametrize("empty", [runs_table([], NOW), schedules_table([], NOW), workflows_table([])])
def test_empty_lists_say_so(empty: RenderableType) -> None:
    assert rendered(empty, 80).startswith("no ")


def test_the_configuration_shows_each_value_with_its_source() -> None:
    queue = {"path": "q.db", "durability": "disk"}
    about = {"file": "tako.toml", "name": "shop", "server": "lax", "state_dir": ".tako", "queue": queue}
    groups = {"media": {"workers": {"value": 4, "source": "[servers.lax.workflows.media]"}}}
    text = rendered(config_view(about, groups), 80)

    assert "q.db (durability disk)" in text
    assert "workers" in text
    assert "[servers.lax.workflows.media]" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0s"),
        (-5, "0s"),
        (59.4, "59s"),
        (59.5, "1m"),
        (2.97, "3s"),
        (3599, "1h"),
        (3600, "1h"),
        (34_560_000, "400d"),
    ],
)
def test_a_span_is_rounded_to_its_largest_unit(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, ""),
        ("2030-03-17T17:43:20.000Z", "3m ago"),
        ("2030-03-17T17:46:40.000Z", "0s ago"),
        ("2030-03-17T19:46:40.000Z", "in 2h"),
        ("9999-12-31T23:59:59.999Z", "in 2910906d"),
    ],
)
def test_times_are_shown_relative_to_now(moment: str | None, text: str) -> None:
    assert when(moment, NOW) == text
