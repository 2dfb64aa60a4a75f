"""Which names a page of the machine may be asked under: a page of another site must not reach it by a name that points here."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection


def is_known_host(host: str, allowed: Collection[str]) -> bool:
    """Whether a Host header names this machine: by an IP address, as `localhost`, by its own name, or by an allowed one.

    `*.example.com` allows every name below `example.com`.
    """
    name = host_name(host)
    if name in allowed or name == "localhost" or name.endswith(".localhost") or name == os.uname().nodename.lower():
        return True
    if any(name.endswith(suffix[1:]) for suffix in allowed if suffix.startswith("*.")):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        address, bracket, _ = host[1:].partition("]")
        return address if bracket else ""
    name = host.rpartition(":")[0] if ":" in host else host
    return name.lower().rstrip(".")
