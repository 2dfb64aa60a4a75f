"""Daemons of tests that are forked from a process with their modules are like those that start as new programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import is_gone, wait_until
from tests.support.warm_start import WarmProcess, start_daemon

FACTS = """
import json, os, signal, sys, time
streams = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]
open_now = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]
descriptors = [entry for entry in open_now if 'libffi' not in os.path.realpath(entry)]  # ctypes' own
handlers = {str(n): str(signal.getsignal(n)) for n in signal.valid_signals()}
print(json.dumps({
    'folder': os.getcwd(), 'path': sys.path[0], 'leads': os.getsid(0) == os.getpid(), 'umask': os.umask(0),
    'environment': dict(os.environ), 'streams': streams, 'handlers': handlers, 'main': sys.modules['__main__'].__spec__.name,
    'zone': time.tzname, 'descriptors': len(descriptors), 'blocked': sorted(signal.pthread_sigmask(0, [])),
}))
"""


def run(code: str, folder: Path, *, warm: bool) -> WarmProcess | subprocess.Popen[bytes]:
    """Start a program that executes code once."""
    with (folder / "output").open("wb") as output:
        return start_daemon(["-n1", "-r1", code], folder, output.fileno(), module="timeit", warm=warm)


def facts(folder: Path, *, warm: bool) -> dict[str, Any]:
    assert run(FACTS, folder, warm=warm).wait(15) == 0
    found: dict[str, Any] = json.loads((folder / "output").read_text().splitlines()[0])
    return found


def test_a_warm_start_gives_what_a_cold_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("ONLY_HERE", "1")
    before = os.umask(0o027)
    try:
        assert facts(tmp_path, warm=True) == facts(tmp_path, warm=False)
    finally:
        os.umask(before)


@pytest.mark.parametrize(("code", "expected"), [("import os; os._exit(6)", 6), ("import os; os.abort()", -signal.SIGABRT)])
def test_the_exit_code_of_a_warm_process_is_collected(tmp_path: Path, code: str, expected: int) -> None:
    process = run(code, tmp_path, warm=True)
    assert process.wait(15) == process.poll() == expected


def test_a_warm_process_is_signalled_and_reaped(tmp_path: Path) -> None:
    process = run("import time; time.sleep(60)", tmp_path, warm=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(15) == -signal.SIGKILL
    wait_until(lambda: is_gone(process.pid), "it is reaped")
    process.send_signal(signal.SIGTERM)
