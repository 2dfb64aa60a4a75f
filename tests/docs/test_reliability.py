"""The page on reliability names tests that exist, and says of every promise what shows it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
PROMISES = [f"P{number}" for number in range(1, 24)]


def test_every_promise_names_tests_that_exist_or_says_that_it_is_not_tested_yet() -> None:
    parts = re.split(r"^#{2,3} (.*)$", PAGE, flags=re.MULTILINE)
    sections = {head.partition(":")[0]: text for head, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert re.findall(r"^\| (P\d+) \|", sections["What is promised"], re.MULTILINE) == PROMISES
    assert [name for name in sections if re.fullmatch(r"P\d+", name)] == PROMISES

    silent, missing = [], []
    for promise in (*PROMISES, "Several servers"):
        file, named = "", 0
        for line in sections[promise].splitlines():
            if found := re.match(r"- `(tests/\S+\.py)`$", line):
                file = found[1]
            elif found := re.match(r"  - `(test_\w+)`", line):
                named += 1
                source = (ROOT / file).read_text(encoding="utf-8")
                missing += [] if f"def {found[1]}(" in source else [f"{file}::{found[1]}"]
        silent += [] if named or "not tested yet" in sections[promise] else [promise]
    assert (missing, silent) == ([], [])

    names = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    assert [file for file in re.findall(r"\b(test_\w+\.py)", PAGE) if file not in names] == []


def test_no_figure_is_left_to_be_filled_in() -> None:
    assert re.findall(r"\b[A-Z]{3,}_[A-Z]+\b", re.sub(r"`[^`]*`", "", PAGE)) == []
