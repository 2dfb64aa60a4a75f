"""Checks of the secrets of tako.toml and of `env_file`: whether they can be read, and whether other users can read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako_lite.config.env_file import env_file_mistakes
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


def env_files(config: Config) -> Iterator[Finding]:
    """The findings about the files that groups name as `env_file`."""
    mistakes, missing = env_file_mistakes(config)
    for mistake in mistakes:
        fix = f"edit {quoted(Path(mistake.file))}, then tako-lite reload"
        yield Finding("config", "problem", f"{mistake.place}: {mistake.message}", fix)
    for mistake in missing:
        fix = "create the file, or remove env_file; a group whose file cannot be read does not start"
        yield Finding("config", "warning", f"{mistake.place}: {mistake.message}", fix)
    for file in dict.fromkeys(group.env_file for group in config.groups.values() if group.env_file):
        yield from _of_mode("config", Path(file), "which env_file names")


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
        yield from _of_mode("secrets", Path(source.place), f"the source of secret {name}")


def _of_mode(check: str, file: Path, what: str) -> Iterator[Finding]:
    with suppress(OSError):
        about = file.stat()
        if about.st_uid == os.geteuid() and about.st_mode & 0o077:
            mode = f"{stat.S_IMODE(about.st_mode):04o}"
            message = f"other users can read {file} ({mode}), {what}"
            yield Finding(check, "warning", message, f"chmod go= {quoted(file)}")
