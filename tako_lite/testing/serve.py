"""The daemon of a `TestProject`: `python -m tako_lite.testing.serve` in its folder. Its clock is one that the test moves."""

from __future__ import annotations

import sys
from pathlib import Path

from tako_lite.daemon import scheduler
from tako_lite.daemon import serve as command
from tako_lite.testing.moved_clock import MovedClock
from tako_lite.testing.names import FOLDER


def main() -> int:
    """Serve the project in the current folder until a signal ends it."""
    clock = MovedClock(Path.cwd() / FOLDER)
    vars(scheduler)["LONGEST_SLEEP"] = 0.05  # how soon it notices that the test moved the clock
    vars(command)["SystemClock"] = lambda: clock
    return command.serve(None, "test")


if __name__ == "__main__":
    sys.exit(main())
