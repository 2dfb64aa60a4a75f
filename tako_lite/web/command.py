"""`tako-lite web`: the address, the socket and the server."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from tako_lite.config import Config, load
from tako_lite.config.web import base_path as read_base_path
from tako_lite.config.web import listen as read_listen
from tako_lite.config.web_settings import Listen, WebSettings
from tako_lite.errors import AlreadyServing, BadInput
from tako_lite.web.application import build
from tako_lite.web.auth import auth_of, read_token
from tako_lite.web.server import serve

BACKLOG: Final = 128
ASKING: Final = 2.0
"""Seconds that the program which has the port may take to say who it is."""


def serve_web(
    config_path: str | None,
    write: Callable[[str], None],
    *,
    listen: str | None = None,
    open_browser: bool = False,
    read_only: bool = False,
    base_path: str | None = None,
    descriptor: int | None = None,
    idle_exit: float | None = None,
) -> int:
    """Serve the dashboard of a project until a signal ends it; the exit code is 0. `write` prints its address.

    If the daemon of the project listens there already, only the address is printed. Raises BadInput, ConfigError and
    AlreadyServing.
    """
    config = load(config_path)
    settings = _settings(config, listen, read_only, base_path)
    app = build(config, settings, auth_of(settings, config.state_dir))
    if descriptor is not None:
        serve(app, _inherited(descriptor), idle_exit)
        return 0
    address = settings.listen or Listen()
    try:
        listening = listen_on(address)
    except OSError as error:
        return _taken(config, settings, address, error, write, open_browser)
    with listening:
        _announce(config, settings, _bound(address, listening), write, open_browser, "Ctrl-C ends it")
        serve(app, listening, idle_exit)
    if address.path is not None:
        address.path.unlink(missing_ok=True)
    return 0


def _settings(config: Config, listen: str | None, read_only: bool, base_path: str | None) -> WebSettings:
    settings = config.web
    if listen is not None:
        settings = replace(settings, listen=read_listen(Path.cwd())(listen))
    if base_path is not None:
        settings = replace(settings, base_path=read_base_path(base_path))
    if read_only:
        settings = replace(settings, read_only=True)
    if settings.auth == "none" and settings.listen is not None and not settings.listen.is_local:
        raise BadInput(
            f'auth = "none" is only allowed on a loopback address or a Unix socket, not on {settings.listen}',
            hint='set auth in [web] to "token", "basic" or "proxy"',
        )
    return settings


def listen_on(address: Listen) -> socket.socket:
    """A listening socket. Raises OSError."""
    if address.path is not None:
        return _listen_on_path(address.path)
    family, kind, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_on_path(path: Path) -> socket.socket:
    """A listening Unix socket that only this user can connect to; one that nobody listens on any more is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
                path.unlink()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _inherited(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise BadInput(f"--fd {descriptor} is not an open socket: {error.strerror}") from None


def _bound(address: Listen, listening: socket.socket) -> Listen:
    """The address with the port that the kernel chose, if it was 0."""
    return address if address.path is not None else address._replace(port=listening.getsockname()[1])


def _announce(
    config: Config, settings: WebSettings, address: Listen, write: Callable[[str], None], open_browser: bool, note: str
) -> None:
    where = f"{address}" if address.path is not None else f"http://{address}{settings.base_path}/"
    if settings.auth == "token" and address.path is None:
        where += f"?token={read_token(config.state_dir)}"
    write(f"dashboard of {config.name} on {where}  ({note})")
    if open_browser and address.path is None:
        webbrowser.open(where)


def _taken(
    config: Config, settings: WebSettings, address: Listen, error: OSError, write: Callable[[str], None], open_browser: bool
) -> int:
    """Say who has the address. If that is the dashboard of this project, print where it is."""
    if error.errno != errno.EADDRINUSE:
        raise BadInput(
            f"cannot listen on {address}: {error.strerror}", hint="choose another one: --listen 127.0.0.1:0"
        ) from None
    other = _project_at(address)
    if other is not None and os.path.realpath(other["root"]) == os.path.realpath(config.root):
        _announce(config, settings, address, write, open_browser, "it was running already")
        return 0
    who = f"the dashboard of {other['project']} ({other['root']})" if other else "another program"
    raise AlreadyServing(f"{who} listens on {address}", hint="choose another address: --listen 127.0.0.1:0") from None


def _project_at(address: Listen) -> dict[str, Any] | None:
    """What the dashboard that listens on an address says of itself; None if it is none."""
    if address.path is not None:
        return None
    connection = HTTPConnection(address.host, address.port, timeout=ASKING)
    try:
        connection.request("GET", "/-/project")
        answer = json.loads(connection.getresponse().read(65_536))
        return answer if isinstance(answer, dict) and {"project", "root"} <= answer.keys() else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
