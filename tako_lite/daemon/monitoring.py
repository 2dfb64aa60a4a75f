"""Monitoring, from the daemon's side. What answers is imported when it is first needed: it is off by default."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

from tako_lite.config.monitor_settings import MonitorSettings
from tako_lite.daemon.events import Events
from tako_lite.errors import TakoError
from tako_lite.protocol.arguments import Nothing
from tako_lite.protocol.commands import Handler
from tako_lite.secrets import read

if TYPE_CHECKING:
    from tako_lite.daemon.monitor.listener import Listener
    from tako_lite.daemon.monitor.series import Scrape
    from tako_lite.daemon.monitor.source import Source


class Monitoring:
    """Keeps a listener at the address of `[monitor]`; without one, the daemon works all the same."""

    def __init__(self, source: Source, events: Events, inherited: socket.socket | None = None) -> None:
        self.trouble: str | None = None
        """Why the daemon does not listen, although it should."""
        self._address: str | None = None
        self._inherited = inherited
        self._source = source
        self._events = events
        self._settings = MonitorSettings()
        self._listener: Listener | None = None
        self._scrape: Scrape | None = None

    async def apply(self, settings: MonitorSettings) -> None:
        """Listen as the settings say. A failed listener is tried again; one whose settings did not change stays."""
        meter = self._source.meter
        meter.tenants = (meter.tenants or Counter()) if settings.tenants else None
        is_missing = self._inherited is not None and self._listener is None
        if settings == self._settings and self.trouble is None and settings.token is None and not is_missing:
            return
        await self.stop()
        self._settings, self.trouble = settings, None
        if settings.listen is None and self._inherited is None:
            return
        try:
            await self._start(settings)
        except TakoError as error:
            self.trouble = error.message
            self._events.monitor_failed(error)

    async def _start(self, settings: MonitorSettings) -> None:
        from tako_lite.daemon.monitor.listener import Listener
        from tako_lite.daemon.monitor.pages import Pages

        token = None if settings.token is None else read("token of [monitor]", settings.token, os.environ)
        listener = Listener(settings, token, Pages(self._source, self._scraper()), self._inherited)
        address = await listener.start()
        self._listener, self._address = listener, address
        self._events.monitoring(address)

    def as_json(self) -> dict[str, Any] | None:
        """What `status` shows: the address, or why there is none; None if `[monitor] listen` is not set."""
        if self._settings.listen is None and self._inherited is None:
            return None
        return {"address": self._address, "error": self.trouble}

    async def stop(self) -> None:
        """Stop to listen; twice is harmless."""
        if self._listener is not None:
            listener, self._listener, self._address = self._listener, None, None
            await listener.stop()

    # The command

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"metrics": self._metrics}

    async def _metrics(self, _: Nothing) -> dict[str, Any]:
        return {"families": [family.as_json() for family in await self._scraper().families() if family.samples]}

    def _scraper(self) -> Scrape:
        """What collects the metrics, for the command and the listener: both share its cache."""
        from tako_lite.daemon.monitor.series import Scrape

        if self._scrape is None:
            self._scrape = Scrape(self._source)
        return self._scrape
