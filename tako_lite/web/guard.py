"""What every request passes first: its host, its origin and its size are checked, and each reply gets its security headers.

A dashboard on `localhost` has buttons, and the browser in front of it visits other sites as well. A page of another site must
neither read it (its DNS name may point here, so the host is checked) nor press its buttons (cross-site requests are refused, by
the rules of Go's `CrossOriginProtection`), and text in payloads must not become code (Content-Security-Policy).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tako_lite.hosts import host_name, is_known_host
from tako_lite.names import printable
from tako_lite.web.urls import PREFIX

MAX_BODY: Final = 1_153_434
"""1.1 MiB: a payload of 1 MiB, encoded in a form."""
TOO_LARGE: Final = f"The body is larger than {MAX_BODY:,} bytes.\n"
MAX_ADDRESS: Final = 8_192
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
)
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
"""Headers of each reply that does not set them itself."""


class BodyTooLarge(Exception):
    """The body of a request is larger than the dashboard accepts."""


class Guard:
    """The outermost layer of the dashboard. `scope["tako.base"]` is the path that it is served at, for the layers inside."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] = (),
        base_path: str = "",
        trusted: Collection[str] = (),
        ancestors: str = "'none'",
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._base_path = base_path
        self._trusted = trusted
        self._policy = POLICY.format(ancestors=ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = dict(scope)
        refusal = self._refusal(scope, headers) or self._enter_base(scope, headers)
        bounded = _Bounded(receive)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._secure(MutableHeaders(scope=message))
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        try:
            await self._app(scope, bounded, guarded)
        except BodyTooLarge:
            await PlainTextResponse(TOO_LARGE, 413)(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The reply to a request that goes no further, or None."""
        host = headers.get("host", "")
        if not is_known_host(host, self._hosts):
            name = printable(host_name(host))[:253]
            text = f'This dashboard is not served under the name "{name}".\nTo allow it, put this into tako.toml:\n\n'
            return PlainTextResponse(f'{text}[web]\nhosts = ["{name}"]\n', 421)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS:
            return PlainTextResponse("The address is too long.\n", 414)
        if scope["method"] not in SAFE and not is_same_origin(headers, host):
            return PlainTextResponse("A page of another site sent this request, so it was refused.\n", 403)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > MAX_BODY:
            return PlainTextResponse(TOO_LARGE, 413)
        return None

    def _enter_base(self, scope: Scope, headers: Headers) -> Response | None:
        """Note the path that the dashboard is served at; a request outside of it is not found."""
        trusted = is_trusted(scope, self._trusted)
        prefix = headers.get("x-forwarded-prefix", "").rstrip("/") if trusted else ""
        root = scope.get("root_path", "")
        if self._base_path:
            below = scope["path"].removeprefix(root)
            if below != self._base_path and not below.startswith(f"{self._base_path}/"):
                return PlainTextResponse(f"The dashboard is served at {self._base_path}/.\n", 404)
            root += self._base_path
        scope["root_path"] = root
        scope["tako.base"] = f"{prefix if PREFIX.fullmatch(prefix) else ''}{root}"
        scope["tako.trusted"] = trusted
        if trusted and headers.get("x-forwarded-proto") in ("http", "https"):
            scope["scheme"] = headers["x-forwarded-proto"]
        return None

    def _secure(self, headers: MutableHeaders) -> None:
        headers["Content-Security-Policy"] = self._policy
        for name, value in HEADERS.items():
            headers.setdefault(name, value)


def is_same_origin(headers: Headers, host: str) -> bool:
    """Whether a request that may change something comes from a page of this dashboard, or from no browser."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == host


def is_trusted(scope: Scope, trusted: Collection[str]) -> bool:
    """Whether the other end of the connection is a proxy whose headers count."""
    client = scope.get("client")
    if client is None or not client[0]:
        return "unix" in trusted
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in trusted if network != "unix")


class _Bounded:
    """The body of a request, which raises BodyTooLarge beyond its limit: not every body names its length."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > MAX_BODY:
            raise BodyTooLarge
        return message
