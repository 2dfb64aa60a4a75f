"""A running shop: a copy of this folder and a daemon that serves it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tako_lite.client import Client

SOURCE = Path(__file__).parent


class RunningShop:
    """The shop in `folder`, configured by one of the .toml files here; it runs for the length of a `with` block."""

    def __init__(self, folder: Path, config: str, smtp_port: int) -> None:
        self.folder = folder
        shutil.copytree(SOURCE / "photos", folder / "photos")
        shutil.copytree(SOURCE / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(SOURCE / config, folder / "tako.toml")
        self.client = Client(folder)
        self._environment = {**os.environ, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(smtp_port)}
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningShop:
        with self._output.open("wb") as output:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "tako_lite", "serve"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A separate session: Ctrl-C reaches only the demo, which then shuts the daemon down cleanly.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._daemon)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut the daemon down: SIGTERM, then a second SIGTERM, then SIGKILL. Its processes end with it."""
        self.client.close()
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        for request in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            daemon.send_signal(request)
            try:
                daemon.wait(timeout=10)
                return
            except subprocess.TimeoutExpired:
                continue

    @property
    def _output(self) -> Path:
        return self.folder / "daemon.log"

    def _wait_until_ready(self, daemon: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + 15
        while self.client.status()["daemon"] is None:
            if daemon.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"the daemon did not start:\n{self._output.read_text(errors='replace')}")
            time.sleep(0.05)
