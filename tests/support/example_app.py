"""An example application in a folder of its own, served by a real web server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.project import REPOSITORY, wait_until

SLOW: Final = 60.0
"""Seconds for what imports a framework first, on a busy machine."""


def copy_example(name: str, folder: Path) -> Path:
    """A copy of `examples/NAME` in a folder, without its state and caches."""
    return Path(
        shutil.copytree(REPOSITORY / "examples" / name, folder / name, ignore=shutil.ignore_patterns(".tako", "__pycache__"))
    )


@contextmanager
def program(folder: Path, arguments: Sequence[str], stop: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in a folder, ended by a signal, with its output in `output.txt`."""
    with (folder / "output.txt").open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield started
    finally:
        started.send_signal(stop)
        try:
            started.wait(SLOW)
        finally:
            started.kill()
            started.wait()


@contextmanager
def web_server(folder: Path, *arguments: str) -> Iterator[httpx.Client]:
    """A client of a web server, whose command line has `{port}` where its port belongs."""
    port = free_port()
    with (
        program(folder, [argument.format(port=port) for argument in arguments]) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SLOW) as client,
    ):
        wait_until(lambda: answers(client, server, folder), "the web server answers", SLOW)
        yield client


def answers(client: httpx.Client, server: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether a web server accepts connections."""
    assert server.poll() is None, f"the web server ended at once: {(folder / 'output.txt').read_text()}"
    try:
        client.get("/")
    except httpx.TransportError:
        return False
    return True


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_run(client: httpx.Client, path: str) -> dict[str, Any]:
    """What an application says of a run, once that has ended."""

    def ended() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(path).raise_for_status().json()
        return shown if shown["state"] in ("succeeded", "dead", "cancelled") else None

    return wait_until(ended, f"{path} has ended", SLOW)  # type: ignore[return-value]
