"""The nice value of workers, and that of their sessions."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tako_lite.processes.priority import AUTOGROUP

PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21
SCRIPT = """
import os, sys, threading, time
from pathlib import Path
from tako_lite.processes.priority import AUTOGROUP, set_nice

os.setsid()
set_nice(3)
while Path(AUTOGROUP).read_text().split()[-1] != str(os.nice(0)) or threading.active_count() > 1:
    time.sleep(0.01)
"""

pytestmark = pytest.mark.skipif(not Path(AUTOGROUP).exists(), reason="this kernel does not group processes by session")


def without_privileges() -> None:
    """Linux limits how often a process without this capability may set the value."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)


def test_workers_that_start_together_all_get_their_nice_value_for_their_session() -> None:
    command = [sys.executable, "-c", SCRIPT]
    started = [subprocess.Popen(command, preexec_fn=without_privileges) for _ in range(4)]
    assert [process.wait(timeout=15) for process in started] == [0] * 4
