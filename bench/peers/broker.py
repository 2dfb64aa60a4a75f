"""A Redis server for the peers that need one, and their worker processes. Imported in the peers' environments."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = 16390
URL = f"redis://127.0.0.1:{PORT}/0"


@contextmanager
def redis(folder: Path) -> Iterator[None]:
    """A server of our own, which writes its log to disk every second."""
    command = ["redis-server", "--port", str(PORT), "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec"]
    with _running([*command, "--save", ""]):
        while subprocess.run(["redis-cli", "-p", str(PORT), "ping"], capture_output=True, check=False).stdout != b"PONG\n":
            time.sleep(0.05)
        yield


@contextmanager
def worker(*arguments: str) -> Iterator[None]:
    """A worker: a module of the peer's environment, run with arguments."""
    with _running([sys.executable, "-m", *arguments]):
        yield


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
