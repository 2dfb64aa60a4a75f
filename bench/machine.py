"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.figures import Loop


def describe(folder: Path, loop: Loop) -> dict[str, str | int]:
    """Processor, system and versions, and the file system of the folder that is measured in."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file_system": _file_system(folder),
        "tako_lite": _version("tako-lite"),
        "loop": f"uvloop {_version('uvloop')}" if loop == "uvloop" else "asyncio",
    }


def has_uvloop() -> bool:
    """Whether uvloop is installed."""
    return _version("uvloop") != "none"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _cpu() -> str:
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    speed = facts.get("cpu MHz")
    name = facts.get("model name", platform.processor() or platform.machine())
    return f"{name} at {float(speed) / 1000:.2f} GHz" if speed else name


def _file_system(folder: Path) -> str:
    """The type of the deepest mount above a folder."""
    place = folder.resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(Path(point).parts), kind) for point, kind in mounts if place.is_relative_to(point)]
    return max(above, default=(0, "unknown"), key=lambda mount: mount[0])[1]
