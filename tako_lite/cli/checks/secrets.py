"""Whether the secrets of tako.toml can be read, and by whom else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.cli.checks.finding import Finding, quoted
from tako_lite.errors import SecretError
from tako_lite.secrets import Source, read
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.config import Config


def secrets(config: Config) -> Iterator[Finding]:
    """What is wrong with the sources in `[secrets]`; nothing where there are none."""
    found = [finding for name, source in config.secrets.items() for finding in _of_secret(name, source)]
    yield from found
    if config.secrets and not found:
        yield Finding("secrets", "ok", f"{counted(len(config.secrets), 'secret')} can be read")


def _of_secret(name: str, source: Source) -> Iterator[Finding]:
    try:
        read(name, source, os.environ)
    except SecretError as error:
        if source.kind == "env":  # the daemon has an environment of its own
            mend = f"set {source.place} where tako-lite serve is started"
            yield Finding("secrets", "warning", error.message, mend)
        else:
            mend = f"put the value into {quoted(Path(source.place))}, readable for the user of the daemon"
            yield Finding("secrets", "problem", error.message, f"{mend}; then tako-lite reload")
    if source.kind == "file":
        yield from _of_mode(name, Path(source.place))


def _of_mode(name: str, file: Path) -> Iterator[Finding]:
    with suppress(OSError):
        about = file.stat()
        if about.st_uid == os.geteuid() and about.st_mode & 0o077:
            mode = f"{stat.S_IMODE(about.st_mode):04o}"
            message = f"{file} ({mode}), the secret {name}, is open to other users"
            yield Finding("secrets", "warning", message, f"chmod go= {quoted(file)}")
