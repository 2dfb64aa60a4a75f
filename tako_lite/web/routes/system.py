"""The installation: versions, files, settings, what `doctor` finds, and the licences of what the dashboard contains."""

from __future__ import annotations

import json
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite import __version__
from tako_lite.errors import TakoError
from tako_lite.units import size_text
from tako_lite.unpack import program
from tako_lite.web.page import Document, Page, Shown, Visit

PATIENCE: Final = 20
"""Seconds that `doctor` may take."""
VENDORED: Final = (("idiomorph 0.8.0", "0BSD"), ("uPlot 1.6.32", "MIT"))
"""The libraries among the assets, and their licences; a test compares them with `assets/VENDORED.md`."""


class File(NamedTuple):
    """A file of the project; `bytes` is None if there is none."""

    name: str
    path: str
    bytes: int | None


def system(visit: Visit) -> Shown:
    """Versions, files and settings; with `?doctor=run` also the findings of `doctor`, which reads the whole project."""
    site = visit.site
    daemon = (visit.status or {}).get("daemon") or {}
    document: Document = {
        "version": __version__,
        "daemon_version": daemon.get("version"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(terse=True),
        "project": site.config.name,
        "server": site.config.server,
        "root": str(site.config.root),
        "queue": {**site.config.queue.location.shown, **_size_in_database(visit), "durability": site.config.queue.durability},
        "files": [file._asdict() for file in _files(visit)],
        "findings": _findings(visit) if visit.query.get("doctor") == "run" else None,
    }
    return Shown("system.html", "System", document, {"vendored": VENDORED})


def _size_in_database(visit: Visit) -> dict[str, str]:
    """The size of a queue that has no files, if a daemon says it."""
    size = (visit.status or {}).get("queue", {}).get("file_bytes")
    return {} if size is None or any(visit.site.config.queue.location.files()) else {"size": size_text(size)}


def _files(visit: Visit) -> list[File]:
    """The files of the queue, the logs of all groups together, and tako.toml."""
    config = visit.site.config
    logs = visit.site.project.serving_dir() / "logs"
    of_queue = [_file(path.name, path) for path in config.queue.location.files()]
    total = sum(_size(path) or 0 for path in logs.glob("*")) if logs.is_dir() else None
    settings = [_file("tako.toml", config.file)] if config.file else []
    return [*settings, *of_queue, File("logs", str(logs), total)]


def _file(name: str, path: Path) -> File:
    return File(name, str(path), _size(path))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _findings(visit: Visit) -> list[Document]:
    """What `tako-lite doctor` finds. Raises TakoError if it does not end in time or fails."""
    words, folder = program()
    config = visit.site.config
    command = [*words, "-c", str(config.file or config.root), "doctor", "--json"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
        found: list[Document] = json.loads(done.stdout)["findings"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise TakoError("doctor did not report anything", hint="run: tako-lite doctor") from error
    return found


PAGES: Final = (Page("/system", system, watches="workers"),)
