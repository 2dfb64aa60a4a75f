"""`tako-lite web`: the address, the socket and the server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.config import Config, load
from tako_lite.config.listen import Listen
from tako_lite.config.listen import listen as read_listen
from tako_lite.config.web import base_path as read_base_path
from tako_lite.config.web_settings import DEFAULT_HOST, DEFAULT_PORT, WebSettings
from tako_lite.errors import AlreadyServing, BadInput, TakoError
from tako_lite.linux import end_with_parent
from tako_lite.listening import close_unix, listen_on
from tako_lite.web.application import build
from tako_lite.web.auth import auth_of, read_token
from tako_lite.web.server import serve

ASKING: Final = 5.0
"""Seconds that the program which has the address may take to say who it is: the daemon may have to start it first."""
ELSEWHERE: Final = "choose another address: --listen 127.0.0.1:0"


class Options(NamedTuple):
    """The options of the command; None is what `[web]` says."""

    listen: str | None = None
    open_browser: bool = False
    read_only: bool = False
    base_path: str | None = None
    descriptor: int | None = None
    idle_exit: float | None = None


def serve_web(config_path: str | None, options: Options, write: Callable[[str], None]) -> int:
    """Serve the dashboard of a project until a signal ends it; the exit code is 0. `write` prints its address.

    If the daemon of the project listens there already, only the address is printed. Raises BadInput, ConfigError and
    AlreadyServing.
    """
    config = load(config_path)
    settings = _settings(config, options)
    if options.descriptor is not None:
        end_with_parent()
        os.chdir(config.root)
        _serve(config, settings, _inherited(options.descriptor), options.idle_exit)
        return 0
    address = settings.listen or Listen(DEFAULT_HOST, DEFAULT_PORT)
    dashboard = _Announced(config, settings, options.open_browser, write)
    try:
        listening = asyncio.run(listen_on(address))
    except TakoError as error:
        return _taken(dashboard, address, error)
    with listening:
        listening.listen()  # from now on connections wait for the server, so the printed address can be opened at once
        dashboard.announce(_bound(address, listening), "Ctrl-C ends it")
        _serve(config, settings, listening, options.idle_exit)
    if address.path is not None:
        close_unix(address.path)
    return 0


def _serve(config: Config, settings: WebSettings, listening: socket.socket, idle_exit: float | None) -> None:
    serve(build(config, settings, auth_of(settings, config.state_dir)), listening, idle_exit)


def _settings(config: Config, options: Options) -> WebSettings:
    settings = config.web
    if options.listen is not None:
        settings = replace(settings, listen=_option("--listen", read_listen(Path.cwd()), options.listen))
    if options.base_path is not None:
        settings = replace(settings, base_path=_option("--base-path", read_base_path, options.base_path))
    if options.read_only:
        settings = replace(settings, read_only=True)
    if settings.auth == "none" and settings.listen is not None and not settings.listen.is_local:
        raise BadInput(
            f'auth = "none" is only allowed on a loopback address or a Unix socket, not on {settings.listen}',
            hint='set auth in [web] to "token", "basic" or "proxy"',
        )
    return settings


def _option(name: str, read: Callable[[str], Any], value: str) -> Any:
    """The value of an option, as the setting of the same name reads it, whose messages have no subject. Raises BadInput."""
    try:
        return read(value)
    except BadInput as error:
        raise BadInput(f"{name} {value!r} {error.message}", hint=error.hint) from None


def _inherited(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise BadInput(f"--fd {descriptor} is not an open socket: {error.strerror}") from None


def _bound(address: Listen, listening: socket.socket) -> Listen:
    """The address with the port that the kernel chose, if it was 0."""
    return address if address.path is not None else address._replace(port=listening.getsockname()[1])


class _Announced(NamedTuple):
    """A dashboard whose address is printed."""

    config: Config
    settings: WebSettings
    open_browser: bool
    write: Callable[[str], None]

    def announce(self, address: Listen, note: str) -> None:
        """Print the address, with the token if visitors need it."""
        if address.path is not None:
            self.write(f"dashboard of {self.config.name} on {address}  ({note})")
            return
        where = f"http://{address}{self.settings.base_path}/"
        if self.settings.auth == "token":
            where += f"?token={read_token(self.config.state_dir)}"
        self.write(f"dashboard of {self.config.name} on {where}  ({note})")
        if self.open_browser:
            webbrowser.open(where)


def _taken(dashboard: _Announced, address: Listen, error: TakoError) -> int:
    """Print where the dashboard of this project is, if that has the address; else raise an error that says who has it."""
    other = None if address.path is not None else _project_at(address)
    if other is None:
        raise AlreadyServing(error.message, hint=ELSEWHERE) from None
    if os.path.realpath(other["root"]) != os.path.realpath(dashboard.config.root):
        who = f"the dashboard of {other['project']} ({other['root']})"
        raise AlreadyServing(f"{who} listens on {address}", hint=ELSEWHERE) from None
    dashboard.announce(address, "it is served already")
    return 0


def _project_at(address: Listen) -> dict[str, Any] | None:
    """What the dashboard that listens on an address says of itself; None if none does."""
    connection = HTTPConnection(address.host, address.port, timeout=ASKING)
    try:
        connection.request("GET", "/-/project", headers={"Host": f"127.0.0.1:{address.port}"})
        answer = json.loads(connection.getresponse().read(65_536))
        return answer if isinstance(answer, dict) and {"project", "root"} <= answer.keys() else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
