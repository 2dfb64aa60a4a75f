"""`tako-lite web` as a process."""

from __future__ import annotations

import re
import subprocess
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.project import Project, wait_until


class WebServer:
    """The dashboard of a project on a free port."""

    def __init__(self, project: Project, *options: str) -> None:
        self._project = project
        self._options = options
        self.process: subprocess.Popen[str] | None = None
        self.sign_in = ""
        """The address with the token."""

    def __enter__(self) -> Self:
        self.process = self._project.start("web", "--listen", "127.0.0.1:0", *self._options)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}{self.process.stderr.read() if self.process.stderr else ''}"
        self.sign_in = found[0]
        return self

    def __exit__(self, *_: Any) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=15)
        wait_until(lambda: self.process is not None and self.process.poll() is not None, "the dashboard ends")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return urlsplit(self.sign_in).port or 0

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"{self.sign_in.partition('?')[0].rstrip('/')}{path}"
