"""`tako-lite demo`: what it shows comes true, and nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.profiles import scaled
from tests.support.terminal import environment

SHOWN = {
    "crash": " done, 0 lost, 0 twice at the same time",
    "shop": "the newsletter is waiting: no process waits; now it is approved",
    "scale": "group orders grew from 0 to",
}


@pytest.mark.full
@pytest.mark.parametrize("name", scaled(("crash",), tuple(SHOWN)))
def test_a_demo_shows_what_it_promises_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tako_lite", "demo", name, "--for", "5s"],
        env={**environment(), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SHOWN[name] in done.stdout
    assert list(tmp_path.iterdir()) == []
