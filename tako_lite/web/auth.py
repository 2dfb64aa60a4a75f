"""Who the visitor is: by a token, by a password, by the word of a trusted proxy, or by the application that mounts this."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import anyio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from tako_lite.audit import user_name
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import StoreError
from tako_lite.secrets.source import read
from tako_lite.web.rights import User, visitor

TOKEN_FILE: Final = "web-token"  # noqa: S105
TOKEN_BYTES: Final = 32
FAILURES: Final = 10
"""Wrong passwords from one address within a minute, after which it is refused without a look at the password."""
PENALTY: Final = 1.0
"""Seconds that the reply to a wrong password takes."""
COOKIE_AGE: Final = 30 * 86_400


Found: TypeAlias = "User | Awaitable[User | None] | None"


class Auth(Protocol):
    """One way to identify visitors."""

    async def identify(self, request: Request) -> User | Response:
        """The visitor, or the reply to a request of nobody that is known."""


class NoAuth:
    """Everybody who reaches the dashboard is the same visitor."""

    def __init__(self, settings: WebSettings) -> None:
        self._user = visitor(user_name(None), settings)

    async def identify(self, request: Request) -> User | Response:
        return self._user


class TokenAuth:
    """A token from the state folder: in the address once, then in a cookie; programs send it as a bearer token."""

    def __init__(self, settings: WebSettings, state_dir: Path) -> None:
        self._user = visitor(user_name(None), settings)
        self._state_dir = state_dir
        # Cookies are shared between the ports of a host, and another project may have its dashboard on another port.
        self.cookie = f"tako_web_{hashlib.sha256(os.path.realpath(state_dir).encode()).hexdigest()[:8]}"

    async def identify(self, request: Request) -> User | Response:
        token = read_token(self._state_dir)
        if (given := request.query_params.get("token")) is not None and request.method in ("GET", "HEAD"):
            return self._enter(request) if same(given, token) else self._refuse()
        bearer = request.headers.get("authorization", "").partition("Bearer ")[2]
        known = same(request.cookies.get(self.cookie, ""), token) or same(bearer, token)
        return self._user if known else self._refuse()

    def _enter(self, request: Request) -> Response:
        """Move the token from the address, which ends up in histories, to a cookie."""
        base: str = request.scope["tako.base"]
        rest = request.url.remove_query_params("token").query
        path = f"{base}{request.scope['path'].removeprefix(request.scope['root_path']) or '/'}"
        reply = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        reply.set_cookie(
            self.cookie,
            read_token(self._state_dir),
            max_age=COOKIE_AGE,
            path=base or "/",
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return reply

    def _refuse(self) -> Response:
        text = "This dashboard needs its token. Open the address that `tako-lite web` prints, or run `tako-lite web --open`.\n"
        return PlainTextResponse(text, 401)


class BasicAuth:
    """A password from the environment or a file; the visitor chooses the name."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._failures: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=FAILURES))

    async def identify(self, request: Request) -> User | Response:
        peer = request.client.host if request.client else "unix"
        if self._is_blocked(peer):
            return PlainTextResponse("Too many wrong passwords: wait a minute.\n", 429, {"Retry-After": "60"})
        header = request.headers.get("authorization", "")
        if header.startswith("Basic "):
            name, password = _credentials(header.removeprefix("Basic "))
            source = self._settings.password
            if name and source is not None and same(password, read("password", source, os.environ)):
                return visitor(name, self._settings)
            self._failures[peer].append(time.monotonic())
            await anyio.sleep(PENALTY)
        return PlainTextResponse(
            "This dashboard needs a password.\n", 401, {"WWW-Authenticate": 'Basic realm="tako-lite", charset="UTF-8"'}
        )

    def _is_blocked(self, peer: str) -> bool:
        failures = self._failures.get(peer)
        if failures is None:
            return False
        if time.monotonic() - failures[-1] > 60:
            del self._failures[peer]
            return False
        return len(failures) == FAILURES and time.monotonic() - failures[0] < 60


class ProxyAuth:
    """A header that a trusted proxy sets."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings

    async def identify(self, request: Request) -> User | Response:
        header = self._settings.proxy_header
        name = request.headers.get(header, "").strip() if request.scope["tako.trusted"] else ""
        if name:
            return visitor(name[:128], self._settings)
        text = f"This dashboard expects the header {header} from a trusted proxy; [web] trusted_proxies lists those.\n"
        return PlainTextResponse(text, 401)


class HostAuth:
    """The application that mounts the dashboard says who the visitor is."""

    def __init__(self, resolve: Callable[[Request], Found], settings: WebSettings) -> None:
        self._resolve = resolve
        self._settings = settings

    async def identify(self, request: Request) -> User | Response:
        found = self._resolve(request)
        user = await found if isinstance(found, Awaitable) else found
        if user is None:
            return PlainTextResponse("You may not see this dashboard.\n", 403)
        granted = visitor(user.name, self._settings).may if self._settings.read_only else user.may
        return User(user.name, user.may & granted)


def auth_of(settings: WebSettings, state_dir: Path) -> Auth:
    """The way to identify visitors that the settings choose."""
    match settings.auth:
        case "none":
            return NoAuth(settings)
        case "basic":
            return BasicAuth(settings)
        case "proxy":
            return ProxyAuth(settings)
    return TokenAuth(settings, state_dir)


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(), expected.encode())


def read_token(state_dir: Path) -> str:
    """The token of a project, made at the first call. Raises StoreError."""
    file = state_dir / TOKEN_FILE
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return file.read_text(encoding="ascii").strip() or _written(file)
        os.close(descriptor)
        return _written(file)
    except (OSError, UnicodeError) as error:
        raise StoreError(f"the token of the dashboard cannot be read: {file}: {error}", hint=f"delete it: rm {file}") from error


def _written(file: Path) -> str:
    """Put a new token into an empty file, through a file beside it, so that no reader sees a part."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{token}\n")
    beside.replace(file)
    return file.read_text(encoding="ascii").strip()


def _credentials(encoded: str) -> tuple[str, str]:
    """The name and the password of a Basic header; empty if it is not one."""
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password
