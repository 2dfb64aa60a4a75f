"""The daemon of a `TestProject`: `python -m tako_lite.testing.serve` in its folder. Its clock is one that the test moves."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from tako_lite.daemon import scheduler
from tako_lite.daemon import serve as command
from tako_lite.testing.moved_clock import MovedClock
from tako_lite.testing.names import FOLDER


def main() -> int:
    """Serve the project in the current folder until a signal ends it."""
    threading.Thread(target=_end_with_the_test, name="tako-test", daemon=True).start()
    clock = MovedClock(Path.cwd() / FOLDER)
    vars(scheduler)["LONGEST_SLEEP"] = 0.05  # how soon it notices that the test moved the clock
    vars(command)["SystemClock"] = lambda: clock
    return command.serve(None, "test")


def _end_with_the_test() -> None:
    """Stop once the process of the test is gone: it holds the other end of stdin."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
