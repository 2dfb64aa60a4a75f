"""The lines that a daemon stores of what workers print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.project import Project, wait_until


def written(project: Project, group: str = "default") -> list[dict[str, Any]]:
    """The lines of a group's log."""
    return lines(project.root / ".tako/logs" / f"{group}.jsonl")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def texts(found: list[dict[str, Any]], run: str | None) -> list[str]:
    return [line["text"] for line in found if line["run"] == run]


def wait_for_text(project: Project, text: str) -> list[dict[str, Any]]:
    """The log, once a line has this text."""
    wait_until(lambda: any(text in line["text"] for line in written(project)), f"{text!r} is logged")
    return written(project)
