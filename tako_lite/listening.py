"""Sockets to listen on: of the control socket, of monitoring and of the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from tako_lite.config.listen import Listen
from tako_lite.errors import TakoError
from tako_lite.linux import listening_process
from tako_lite.names import printable

LONGEST_PATH: Final = 107


def bind_unix(path: Path) -> socket.socket:
    """A new socket of mode 0600 at this path, in place of an older one. Raises TakoError if another file is in the way."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise TakoError(f"{path} is in the way: it is not a socket", hint="move it away")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    folder: int | None = None
    try:
        address = str(path)
        if len(os.fsencode(address)) > LONGEST_PATH:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            address = f"/proc/self/fd/{folder}/{path.name}"
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise TakoError(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
        if folder is not None:
            os.close(folder)
    listening.setblocking(False)
    return listening


def close_unix(path: Path) -> None:
    """Remove a socket that no longer listens."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def address_of(listening: socket.socket) -> Listen:
    """Where a socket listens."""
    place = listening.getsockname()
    return Listen(path=Path(place)) if isinstance(place, str) else Listen(place[0], place[1])


async def listen_on(address: Listen) -> socket.socket:
    """A new socket that is bound to an address. Raises TakoError, which names the process that has the address already."""
    if address.path is not None:
        _check_unused(address.path)
        return bind_unix(address.path)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TakoError(f"cannot listen on {address}: {error.strerror}") from None
    family, kind, protocol, _, place = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        listening.close()
        raise TakoError(f"cannot listen on {address}: {_why(error, address.port)}") from None
    listening.setblocking(False)
    return listening


def _check_unused(path: Path) -> None:
    """Raise TakoError if a process listens on a Unix socket; one that a killed process left is replaced."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise TakoError(f"cannot listen on {path}: another process listens on it", hint=f"fuser {path} names it")


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = listening_process(port)
        return f"{printable(holder[1])} (pid {holder[0]}) listens on it" if holder else "another process listens on it"
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges"
    return str(error.strerror)
