"""Where a secret comes from: a variable of the daemon's environment, or a file."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from tako_lite.errors import SecretError

MAX_SECRET: Final = 64 * 1024
"""Bytes of a value."""

_MAX_NEWLINE: Final = 2


class SecretSource(NamedTuple):
    """`env:NAME` or `file:PATH`; the path is absolute."""

    kind: Literal["env", "file"]
    place: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


def read(name: str, source: SecretSource, environment: Mapping[str, str]) -> str:
    """The current value of a secret. Raises SecretError, which names the source and never contains the value."""
    try:
        data = _variable(source.place, environment) if source.kind == "env" else _file(source.place)
        if len(data) > MAX_SECRET:
            raise SecretError(f"{source.place} is larger than 64 KiB")
        if not data:
            raise SecretError(f"{source.place} is empty")
        return data.decode()
    except UnicodeError:
        raise SecretError(f"the secret {name} cannot be read: {source.place} is not UTF-8") from None
    except SecretError as error:
        raise SecretError(f"the secret {name} cannot be read: {error.message}") from None


def _variable(variable: str, environment: Mapping[str, str]) -> bytes:
    if variable not in environment:
        raise SecretError(f"{variable} is not set in the environment")
    return environment[variable].encode()


def _file(path: str) -> bytes:
    """The content without a byte order mark and one final newline. A pipe or a device is refused without waiting."""
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretError(f"{path} is not a file")
            data = file.read(MAX_SECRET + len(codecs.BOM_UTF8) + _MAX_NEWLINE + 1).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from None
    return data[:-1].removesuffix(b"\r") if data.endswith(b"\n") else data


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
