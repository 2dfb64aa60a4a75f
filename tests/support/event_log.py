"""The witness log: what clients, handlers and the driver saw themselves, one JSON line a fact."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

Fact = dict[str, Any]
LOG: Final = "seen.jsonl"
"""The file in a project's folder."""
LONGEST: Final = 1_000
"""Characters of a value's JSON that the log has; of a longer one, it has a digest."""


class EventLog:
    """Appends facts to a file that many processes share. Every fact has `kind`, `pid` and `at`, in ns of CLOCK_MONOTONIC."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **facts: Any) -> None:
        """Append a fact with one write."""
        line = json.dumps({"kind": kind, "pid": os.getpid(), "at": time.monotonic_ns(), **facts})
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"\n{line}\n".encode())  # what a kill tore off before it stays on a line of its own
        finally:
            os.close(descriptor)

    def read(self) -> list[Fact]:
        """All facts in the order in which they were written; a torn line is none, and its writer was killed."""
        facts: list[Fact] = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                facts.append(json.loads(line))
            except ValueError:
                continue
        return facts


def as_logged(value: Any) -> Any:
    """A value as the log has it."""
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()
