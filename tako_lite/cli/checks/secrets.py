"""Checks of the secrets of tako.toml: whether they can be read, and whether other users can read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.errors import SecretError
from tako_lite.finding import Finding, quoted
from tako_lite.secrets import SecretSource, read
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.config import Config


def secrets(config: Config) -> Iterator[Finding]:
    """The findings about the sources in `[secrets]`; none without such a table."""
    found = [finding for name, source in config.secrets.items() for finding in _of_secret(name, source)]
    yield from found
    if config.secrets and not found:
        yield Finding("secrets", "ok", f"{counted(len(config.secrets), 'secret')} can be read")


def _of_secret(name: str, source: SecretSource) -> Iterator[Finding]:
    try:
        read(name, source, os.environ)
    except SecretError as error:
        if source.kind == "env":  # the daemon may have another environment
            fix = f"set {source.place} in the environment of tako-lite serve"
            yield Finding("secrets", "warning", error.message, fix)
        else:
            fix = f"write the value to {quoted(Path(source.place))}, readable by the daemon's user"
            yield Finding("secrets", "problem", error.message, f"{fix}; then tako-lite reload")
    if source.kind == "file":
        yield from _of_mode(name, Path(source.place))


def _of_mode(name: str, file: Path) -> Iterator[Finding]:
    with suppress(OSError):
        about = file.stat()
        if about.st_uid == os.geteuid() and about.st_mode & 0o077:
            mode = f"{stat.S_IMODE(about.st_mode):04o}"
            message = f"other users can read {file} ({mode}), the source of secret {name}"
            yield Finding("secrets", "warning", message, f"chmod go= {quoted(file)}")
