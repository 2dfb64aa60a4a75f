"""What `TestProject` and its workers call the things that they share."""

from __future__ import annotations

from typing import Final

ENTRY: Final = "tako_lite.testing.in_worker:install"
"""The `setup` of every group."""
SETUP: Final = "TAKO_TEST_SETUP"
"""The variable with the `setup` that the group has itself."""
FOLDER: Final = "test"
"""The folder in the project with the files below."""
POINTS: Final = "points.jsonl"
DEATHS: Final = "deaths.json"
