"""Addresses to listen on: `HOST:PORT`, or `unix:PATH`."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.config import values
from tako_lite.config.values import Reader
from tako_lite.errors import BadInput

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LAST_PORT: Final = 65_535


class Listen(NamedTuple):
    """An address to listen on: a host with a port, or the path of a Unix socket. Port 0 takes a free one."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can connect."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def listen(root: Path, example: str = "127.0.0.1:8256") -> Reader:
    """Accepts an address to listen on; the path of a socket is relative to the folder of tako.toml."""

    def read(value: Any) -> Listen:
        if isinstance(value, int) and not isinstance(value, bool):
            raise BadInput(f"must be text, not {values.kind(value)}", hint=f'such as "127.0.0.1:{value}"')
        address = values.text(value)
        if address.startswith("unix:"):
            return Listen(path=values.located(values.text(address.removeprefix("unix:")), root))
        host, colon, port = address.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not (port.isascii() and port.isdecimal()) or int(port) > _LAST_PORT or not _is_host(host, bare):
            raise BadInput("is not an address to listen on", hint=f'such as "{example}", "[::1]:PORT" or "unix:PATH"')
        return Listen(bare, int(port))

    return read


def _is_host(host: str, bare: str) -> bool:
    """Whether a host is a name or an IP address; one of IPv6 must stand in brackets."""
    try:
        return (ipaddress.ip_address(bare).version == 6) == (host != bare)
    except ValueError:
        return host == bare and bool(_NAME.fullmatch(host))
