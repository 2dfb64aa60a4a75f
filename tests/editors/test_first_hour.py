"""docs/first-hour.md on a fresh machine: its commands are executed as they stand there, with the wheel of this checkout."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.project import wait_until
from tests.support.terminal import environment

pytestmark = [pytest.mark.editors, pytest.mark.timeout(900)]
PAGE = Path(__file__).resolve().parents[2] / "docs/first-hour.md"
BROWSER = """#!/bin/sh
python3 -c 'import sys, urllib.request, http.cookiejar
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
open("page.html", "w").write(opener.open(sys.argv[1]).read().decode())' "$1"
"""


def test_two_commands_make_a_tested_project_and_open_its_dashboard(tmp_path: Path, wheel: Path) -> None:
    first, *others = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    make, serve = first.splitlines()
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    fresh = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    fresh |= {"PIP_FIND_LINKS": str(wheel.parent), "BROWSER": f"{browser} %s"}

    made = subprocess.run(["sh", "-c", make], cwd=tmp_path, env=fresh, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "2 passed" in made.stdout

    shop = tmp_path / "shop"
    with (tmp_path / "dev.log").open("wb") as log:
        dev = subprocess.Popen(
            ["sh", "-c", f"exec {serve}"], cwd=shop, env=fresh, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        page = shop / "page.html"
        wait_until(lambda: page.exists() and "</html>" in page.read_text(), "the browser shows the dashboard", 60)
        assert "shop" in page.read_text() and "default" in page.read_text()
        second = {**fresh, "PATH": f"{tmp_path / '.venv/bin'}:{os.environ['PATH']}"}
        for block in others:
            for command in block.splitlines():
                done = subprocess.run(["sh", "-c", command], cwd=shop, env=second, capture_output=True, text=True)
                assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert "✔ hello" in (tmp_path / "dev.log").read_text()
    finally:
        dev.send_signal(signal.SIGINT)
        assert dev.wait(20) == 0
