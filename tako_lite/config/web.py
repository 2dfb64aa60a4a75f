"""`[web]` of tako.toml: the settings of the dashboard."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from tako_lite.config import values
from tako_lite.config.collector import Collector
from tako_lite.config.listen import listen
from tako_lite.config.values import Reader, shown_name
from tako_lite.config.web_settings import AUTHS, EVERYTHING, PAYLOADS, RIGHTS, WebSettings
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean

TABLE: Final = "web"
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST: Final = re.compile(r"\*?[A-Za-z0-9.-]{1,253}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_USER: Final = re.compile(r"\S{1,128}")


def read_web(collector: Collector, value: Any, root: Path) -> WebSettings:
    """The settings of a table `[web]`; mistakes go to the collector."""
    table = collector.table((TABLE,), value)
    readers = _readers(root)
    read: dict[str, Any] = {}
    for key in table:
        if key == "users":
            read["users"] = _users(collector, table["users"])
        elif key in readers:
            if (setting := collector.value((TABLE,), table, key, readers[key])) is not None:
                read[key] = setting
        else:
            collector.unknown((TABLE, key), tuple(field.name for field in fields(WebSettings)))
    settings = WebSettings(**read)
    _check(collector, settings, table)
    return settings


def _readers(root: Path) -> Mapping[str, Reader]:
    return {
        "listen": listen(root),
        "autostart": values.yes_or_no,
        "idle_timeout": values.span(1.0),
        "base_path": base_path,
        "hosts": _array("hosts", _matching(_HOST, "is not the name of a host")),
        "auth": _one_of(AUTHS),
        "password": values.secret_source(root),
        "proxy_header": _matching(_HEADER, "is not the name of a header"),
        "trusted_proxies": _array("addresses", _proxy),
        "read_only": values.yes_or_no,
        "may": _array("rights", _right),
        "payloads": _one_of(PAYLOADS),
        "refresh": values.span(0.2),
    }


def base_path(value: Any) -> str:
    """Accepts the path below which the dashboard is served; the root is empty."""
    if value in ("", "/"):
        return ""
    if not _PREFIX.fullmatch(values.text(value)):
        raise BadInput("is not a base path", hint='begin with a slash and end without one, such as "/tako"')
    return str(value)


def _one_of(words: Sequence[str]) -> Reader:
    def read(value: Any) -> str:
        if value not in words:
            near = did_you_mean(value, words) if isinstance(value, str) else None
            raise BadInput("must be " + " or ".join(f'"{word}"' for word in words), hint=near)
        return str(value)

    return read


def _array(nouns: str, element: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadInput(f"must be an array of {nouns}, not {values.kind(value)}")
        return tuple(dict.fromkeys(element(each) for each in value))

    return read


def _matching(pattern: re.Pattern[str], otherwise: str) -> Reader:
    def read(value: Any) -> str:
        if not pattern.fullmatch(values.text(value)):
            raise BadInput(f"{shown_name(value)} {otherwise}")
        return str(value)

    return read


def _proxy(value: Any) -> str:
    """Accepts the address of a proxy, a network of such, or "unix" for the other end of a Unix socket."""
    if values.text(value) == "unix":
        return "unix"
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        hint = 'such as "127.0.0.1", "10.0.0.0/8" or "unix"'
        raise BadInput(f"{shown_name(value)} is neither an IP address nor a network", hint=hint) from None


def _right(value: Any) -> str:
    if values.text(value) != EVERYTHING and value not in RIGHTS:
        hint = did_you_mean(value, RIGHTS) or f"the rights are: {', '.join(RIGHTS)}"
        raise BadInput(f"{shown_name(value)} is not a right", hint=hint)
    return str(value)


def _users(collector: Collector, value: Any) -> dict[str, tuple[str, ...]]:
    """The tables `[web.users.NAME]`, each with `may`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, inner in collector.table((TABLE, "users"), value).items():
        path = (TABLE, "users", name)
        if not _USER.fullmatch(name):
            collector.wrong(path, f"{shown_name(name)} is not the name of a visitor", at_key=True)
            continue
        table = collector.table(path, inner)
        for key in table:
            if key != "may":
                collector.unknown((*path, key), ("may",))
        found[name] = collector.value(path, table, "may", _array("rights", _right)) or ()
    return found


def _check(collector: Collector, settings: WebSettings, table: Mapping[str, Any]) -> None:
    """Report settings that do not fit each other."""
    if settings.auth == "none" and settings.listen is not None and not settings.listen.is_local:
        message = f'`auth`: "none" is only allowed on a loopback address or a Unix socket, not on {settings.listen}'
        collector.wrong((TABLE, "auth"), message, 'use "token", "basic" or "proxy"')
    if settings.auth == "basic" and "password" not in table:
        hint = 'add password = "env:TAKO_WEB_PASSWORD" to [web]'
        collector.wrong((TABLE, "auth"), '`auth`: "basic" needs a password', hint)
