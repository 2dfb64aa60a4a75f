"""A real SMTP server that remembers when it accepted each mail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection
from email import message_from_bytes
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """An SMTP server on a free port of 127.0.0.1, in its own thread, for the length of a `with` block.

    `arrivals` maps the part before the `@` of each Message-ID to the time (`time.monotonic`) at which the server had
    received the whole mail.
    """

    def __init__(self) -> None:
        self.port = _free_port()
        self.arrivals: dict[str, float] = {}
        self._changed = threading.Condition()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        """Record one mail and accept it."""
        arrived = time.monotonic()
        mail_id = message_from_bytes(envelope.content)["Message-ID"].strip("<>").partition("@")[0]
        with self._changed:
            # Keep the first arrival: steps run at least once, so a duplicate may follow.
            self.arrivals.setdefault(mail_id, arrived)
            self._changed.notify_all()
        return "250 OK"

    def wait_for(self, mail_ids: Collection[str], timeout: float) -> bool:
        """Wait until all of these mails have arrived; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.arrivals.keys() >= set(mail_ids), timeout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
