"""As much of HTTP as a scrape needs: one GET or HEAD for each connection, with bounds on its size and its time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

MAX_HEAD: Final = 2048
"""Bytes of the request line and the headers."""
REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
PLAIN: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class Request(NamedTuple):
    """The head of a request; names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """What a request is answered with."""

    status: int
    body: str
    content_type: str = PLAIN
    headers: Mapping[str, str] = {}

    def encode(self, *, with_body: bool) -> bytes:
        """The bytes of the reply; that to a HEAD has no body."""
        body = self.body.encode()
        lines = [
            f"HTTP/1.1 {self.status} {REASONS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join((*lines, "", "")).encode() + (body if with_body else b"")


class Refused(Exception):
    """A request that gets a reply without being looked at further."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None if the client hung up before its end. Raises Refused."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise Refused(Reply(431, f"The request has more than {MAX_HEAD} bytes.\n")) from None
    return parse(head.decode("latin-1"))


def parse(head: str) -> Request:
    """The request that a head is. Raises Refused."""
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.rpartition(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() == "host" in headers:
            raise Refused(Reply(400, "The headers are invalid.\n"))
        headers[name.lower()] = value.strip()
    if (
        version not in ("HTTP/1.0", "HTTP/1.1")
        or not target.startswith("/")
        or ("host" not in headers and version != "HTTP/1.0")
    ):
        raise Refused(Reply(400, "The request is not HTTP/1.1.\n"))
    if method not in ("GET", "HEAD"):
        raise Refused(Reply(405, "Only GET and HEAD are allowed.\n", headers={"Allow": "GET, HEAD"}))
    try:
        parts = urlsplit(target)
    except ValueError:
        raise Refused(Reply(400, "The address is invalid.\n")) from None
    return Request(method, unquote(parts.path), parse_qs(parts.query), headers)
