"""What the page of a run shows besides the waterfall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tako_lite.client.run_log import read_run_log
from tako_lite.web.ansi import pieces
from tako_lite.web.traces import parts
from tests.support.project import Project
from tests.support.web import Dashboard, dashboard_of, text_of

PRINTS = r"""
@workflow("prints", retries=0)
async def prints(payload, step: Step):
    print("\x1b[31mred\x1b[0m and \x1b]8;;http://evil.example\x07plain\x1b]8;;\x07 \x1b[2J<script>")
    print("bidi \u202e end", file=sys.stderr)
    return 1
"""


def test_the_log_of_a_run_is_on_its_page_without_control_sequences(shop: Project, web: Dashboard) -> None:
    shop.add("prints.py", PRINTS)
    id = shop.run("prints")["id"]
    html = web.page(f"/runs/{id}")
    assert '<span class="red">red</span> and plain &lt;script&gt;' in html
    assert "bidi ⟨U+202E⟩ end" in html
    assert "evil.example" not in html
    lines = web.json(f"/runs/{id}/log")["lines"]
    printed = [json.loads(line) for line in shop.command("logs", id, "--json").stdout.splitlines()]
    assert web.json(f"/runs/{id}/log?before={lines[1]['at']}")["lines"] == [
        line for line in lines if line["at"] < lines[1]["at"]
    ]
    assert lines == [{key: value for key, value in line.items() if key != "schema"} for line in printed]


def test_logs_need_their_right(shop: Project) -> None:
    with dashboard_of(shop.root, may=("see_payloads",)) as web:
        id = web.json("/runs?workflow=adds&state=succeeded")["runs"][0]["id"]
        assert "adding" not in web.page(f"/runs/{id}")
        assert web.get(f"/runs/{id}/log").status_code == 403


def test_a_dead_run_shows_its_attempts_and_its_traceback_with_library_frames_folded(web: Dashboard) -> None:
    id = web.json("/runs?workflow=fails")["runs"][0]["id"]
    html = web.page(f"/runs/{id}")
    assert "Died in" in text_of(html)
    assert "library frame" in html
    assert "shop.py&#34;, line" in html
    assert 'aria-label="Attempts"' in html


def test_the_parts_of_a_traceback_are_frames_of_the_project_and_of_libraries() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/srv/.venv/lib/x.py", line 1, in f\n    g()\n'
        '  File "/srv/workflows/a.py", line 2, in g\n    h()\n    ^^^\nValueError: no\n'
    )
    found = parts(text, Path("/srv"))
    assert [(part.kind, part.frames) for part in found] == [("text", 0), ("library", 1), ("own", 1), ("text", 0)]
    assert "\n".join(part.text for part in found) == text.rstrip()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[1;32mok\x1b[m done", [("green bold", "ok"), ("", " done")]),
        ("\x1b[38;5;208morange\x1b[0m", [("", "orange")]),
        ("\x1b[91mhot\x1b[39m cold", [("bright-red", "hot"), ("", " cold")]),
        ("a\x1b]0;title\x07b\x1bPq\x1b\\c\x1b[?25hd", [("", "a"), ("", "b"), ("", "c"), ("", "d")]),
    ],
)
def test_colours_become_classes_and_other_sequences_are_dropped(line: str, expected: list[tuple[str, str]]) -> None:
    assert pieces(line) == expected


def test_the_newest_lines_of_a_run_are_found_by_time_in_large_files(tmp_path: Path) -> None:
    def written(number: int) -> str:
        run = "mine" if number % 1000 == 0 else "other"
        line = {"at": number * 10, "run": run, "pid": 1, "stream": "stdout", "text": f"{number} {'x' * 60}"}
        return json.dumps(line, separators=(",", ":")) + "\n"

    (tmp_path / "io.jsonl.1").write_text("".join(map(written, range(1_000, 60_000))))
    (tmp_path / "io.jsonl").write_text("".join(map(written, range(60_000, 90_000))))
    found = read_run_log(tmp_path, "io", "mine", 500_000, 700_000, 5)
    assert [line.at for line in found.lines] == [660_000, 670_000, 680_000, 690_000, 700_000]
    assert (found.older, found.is_gone) == (650_001, False)
    older = read_run_log(tmp_path, "io", "mine", 500_000, 700_000, 50, found.older)
    assert [line.at for line in older.lines] == list(range(500_000, 660_000, 10_000))
    assert older.older is None
    assert read_run_log(tmp_path, "io", "mine", 0, 20_000, 50).is_gone
    assert read_run_log(tmp_path, "none", "mine", 0, None, 50).lines == []


def test_pages_of_a_log_have_every_line_once_even_of_one_moment(tmp_path: Path) -> None:
    moments = [moment for moment in range(1_000, 1_400, 100) for _ in range(3)] + [1_400] * 12 + [1_500]
    lines = [
        json.dumps({"at": at, "run": "mine", "pid": 1, "stream": "stdout", "text": str(n)}) for n, at in enumerate(moments)
    ]
    (tmp_path / "io.jsonl").write_text("".join(f"{line}\n" for line in lines).replace(": ", ":").replace(", ", ","))
    pages: list[list[str]] = []
    before = None
    while not pages or before is not None:
        found = read_run_log(tmp_path, "io", "mine", 1_000, None, 5, before)
        pages.append([line.text for line in found.lines])
        before = found.older
    shown = [text for page in pages for text in page]
    assert len(shown) == len(set(shown)), pages
    assert set(shown) >= {str(n) for n, at in enumerate(moments) if at != 1_400}, pages
    assert all(len(page) <= 5 for page in pages)


def test_a_run_leads_to_those_that_it_started_and_back(shop: Project, web: Dashboard) -> None:
    source = """
    @workflow("parent")
    async def parent(payload, step: Step):
        return await step.invoke("child", "adds", [1, 2])
    """
    shop.add("parent.py", source)
    id = shop.run("parent")["id"]
    (child,) = web.json(f"/runs?parent={id}")["runs"]
    assert f'href="/runs/{child["id"]}"' in web.page(f"/runs/{id}")
    assert f'href="/runs/{id}"' in web.page(f"/runs/{child['id']}")
