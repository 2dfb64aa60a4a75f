"""What workers print, copied to the standard output of the daemon, for containers whose logs are collected from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tako_lite.clock import iso
from tako_lite.daemon.line_writer import LineWriter
from tako_lite.log_fields import fields_of


class RunOutput:
    """Writes each line as a JSON object. A line that the reader does not take at once is dropped; the caller counts it."""

    def __init__(self, descriptor: int = 1) -> None:
        self._writer = LineWriter(descriptor)

    def write(self, line: Mapping[str, Any], group: str) -> bool:
        """Write a line of a group's log; False if it was dropped. The fields of a line of JSON are in `fields`."""
        shown = {"at": iso(line["at"]), "group": group, "run": line["run"], "worker": line["pid"], "text": line["text"]}
        if (fields := fields_of(line["text"])) is not None:
            shown["fields"] = fields
        return self._writer.write(json.dumps(shown, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
