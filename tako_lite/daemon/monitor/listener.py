"""The listener of `[monitor]`: it answers health checks and scrapes, and costs nothing while nobody asks.

There is no keep-alive, so no connection is idle and no timer runs without a request.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from contextlib import suppress
from typing import Final

from tako_lite.config.monitor_settings import MonitorSettings
from tako_lite.daemon.monitor.http import MAX_HEAD, Refused, Reply, Request, read_request
from tako_lite.daemon.monitor.pages import Pages
from tako_lite.hosts import host_name, is_known_host
from tako_lite.listening import address_of, close_unix, listen_on
from tako_lite.names import printable

MOST_CONNECTIONS: Final = 8
BACKLOG: Final = 64
PATIENCE: Final = 5.0
"""Seconds that a request and its reply may take."""
UNAUTHORIZED: Final = Reply(401, "The token is missing or wrong.\n", headers={"WWW-Authenticate": "Bearer"})


class Listener:
    """Answers requests at one address, until it is stopped."""

    def __init__(
        self, settings: MonitorSettings, token: str | None, pages: Pages, inherited: socket.socket | None = None
    ) -> None:
        listen = settings.listen if inherited is None else address_of(inherited)
        assert listen is not None  # noqa: S101
        self._listen = listen
        self._inherited = inherited
        self._hosts = settings.hosts
        self._authorization = None if token is None else f"Bearer {token}".encode()
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        """Start to listen, and return the address. Raises TakoError where that is not possible."""
        listening = await listen_on(self._listen) if self._inherited is None else self._inherited.dup()
        if self._listen.path is None:
            self._server = await asyncio.start_server(self._connected, sock=listening, limit=MAX_HEAD, backlog=BACKLOG)
        else:
            self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=MAX_HEAD, backlog=BACKLOG)
        if self._listen.path is not None:
            return str(self._listen)
        port: int = listening.getsockname()[1]
        return f"http://{self._listen._replace(port=port)}"

    async def stop(self) -> None:
        """Accept no more, and hang up; twice is harmless."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._inherited is None and self._listen.path is not None:
            close_unix(self._listen.path)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            async with asyncio.timeout(PATIENCE):
                if len(self._open) > MOST_CONNECTIONS:
                    reply = Reply(503, f"More than {MOST_CONNECTIONS} requests at a time.\n", headers={"Retry-After": "1"})
                    writer.write(reply.encode(with_body=True))
                else:
                    await self._answer(reader, writer)
                await writer.drain()
                with suppress(OSError, RuntimeError):
                    writer.write_eof()
        except (TimeoutError, OSError):  # a slow client, or one that is gone
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_body = True
        try:
            request = await read_request(reader)
            if request is None:
                return
            with_body = request.method != "HEAD"
            reply = self._refusal(request) or await self._pages.reply(request)
        except Refused as refused:
            reply = refused.reply
        except (TimeoutError, OSError):
            raise
        except Exception:
            logging.getLogger("tako_lite").exception("a request to [monitor] failed")
            reply = Reply(500, "The daemon failed; its log has the traceback.\n")
        writer.write(reply.encode(with_body=with_body))

    def _refusal(self, request: Request) -> Reply | None:
        """The reply to a request from elsewhere or without the token, or None."""
        host = request.headers.get("host", "localhost")
        if self._listen.path is None and not is_known_host(host, self._hosts):
            name = printable(host_name(host))[:253]
            text = f'The daemon does not answer under the name "{name}".\nTo allow it, put this into tako.toml:\n\n'
            return Reply(421, f'{text}[monitor]\nhosts = ["{name}"]\n')
        given = request.headers.get("authorization", "").encode()
        if self._authorization is not None and not hmac.compare_digest(given, self._authorization):
            return UNAUTHORIZED
        return None
