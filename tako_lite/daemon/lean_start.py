"""Whether `serve` starts over as a process that shares the memory of its fork server, and what it takes along."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tako_lite.config import Config, load
from tako_lite.daemon.environment import secret_variables, worker_environment
from tako_lite.linux import ON_LINUX
from tako_lite.processes.shared_start import Rest, start_over
from tako_lite.processes.startup import acting_at_start
from tako_lite.protocol.forkserver import WORKER_ENTRY
from tako_lite.routing import DEFAULT
from tako_lite.unpack import package_dir

LOCATORS: Final = ("CONDA_", "PYENV_", "ASDF_", "UV_PYTHON")
"""The beginnings of variables that only matter before an interpreter is found."""


def start_lean(
    config_path: Path | None, server: str | None, words: Sequence[str], options: dict[str, Any], daemon: str
) -> None:
    """Replace this program by a lean daemon with these options, whose function is `daemon`; returns where that is impossible.

    `words` are the command line. Raises what `load` raises.
    """
    package = package_dir() / "tako_lite"
    if not (ON_LINUX and package == Path(__file__).parents[1] and _is_program(words) and _has_streams()):
        return
    config = load(config_path, server=server)
    environment = _fork_server_environment(config)
    if environment is not None and config.group(DEFAULT).python is None:
        rest = Rest(daemon=daemon, options=options, environment=dict(os.environ), path=sys.path)
        with suppress(OSError):  # no memory file, or too long a command line
            start_over(package, config.root, WORKER_ENTRY, environment, sys.orig_argv[1:], rest)


def _is_program(words: Sequence[str]) -> bool:
    """Whether this process is `tako-lite` or `python -m tako_lite` with these words, without options of Python or a tracer."""
    program = sys.orig_argv[1 : -len(words)]
    is_ours = program == ["-m", "tako_lite"] or (len(program) == 1 and Path(program[0]).name == "tako-lite")
    is_traced = sys.gettrace() is not None or sys.getprofile() is not None
    return is_ours and sys.orig_argv[-len(words) :] == list(words) and not is_traced and threading.active_count() == 1


def _has_streams() -> bool:
    """Whether descriptors 0 to 2 are open, so that none that is opened now takes their place."""
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True


def _fork_server_environment(config: Config) -> dict[str, str] | None:
    """The environment of the fork server of `default`; None if this process was started with another one."""
    wanted = acting_at_start(worker_environment(config.group(DEFAULT), os.environ, secret_variables(config.secrets)))
    if _without_locators(dict(wanted)) != _without_locators(dict(acting_at_start(os.environ))):
        return None
    return dict(wanted)


def _without_locators(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(LOCATORS)}
