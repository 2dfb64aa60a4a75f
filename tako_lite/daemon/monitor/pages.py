"""The pages of `[monitor]`: `/healthz`, `/readyz`, `/metrics`, and `/` with links to them."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tako_lite import __version__
from tako_lite.daemon.monitor.exposition import OPENMETRICS, TEXT, accepts_openmetrics, render
from tako_lite.daemon.monitor.http import JSON, Reply, Request
from tako_lite.daemon.monitor.series import Scrape
from tako_lite.daemon.monitor.source import Source
from tako_lite.daemon.readiness import Reason
from tako_lite.errors import NotFound

INDEX: Final = """\
tako-lite monitor

/healthz               the daemon is alive
/readyz                the daemon can take and start runs
/readyz?groups=a,b     and these groups take runs
/metrics               for Prometheus
"""


class Pages:
    """Makes the replies, out of what the daemon knows."""

    def __init__(self, source: Source, scrape: Scrape) -> None:
        self._source = source
        self._scrape = scrape
        self._pages: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            "/": self._index,
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }

    async def reply(self, request: Request) -> Reply:
        """The reply to a request."""
        page = self._pages.get(request.path)
        if page is None:
            return Reply(404, f"There is no such page. There are: {', '.join(self._pages)}\n")
        return await page(request)

    async def _index(self, request: Request) -> Reply:
        return Reply(200, INDEX)

    async def _health(self, request: Request) -> Reply:
        trouble = await self._source.readiness.trouble()
        if trouble is not None:
            return _json(503, {"status": "failing", "reasons": _listed([trouble])})
        uptime = round(time.monotonic() - self._source.started, 3)
        return _json(200, {"status": "ok", "version": __version__, "uptime_s": uptime})

    async def _ready(self, request: Request) -> Reply:
        groups = [name for given in request.query.get("groups", ()) for name in given.split(",") if name]
        try:
            reasons = self._source.readiness.reasons(groups)
        except NotFound as error:
            return _json(404, {"ready": False, "reasons": _listed([Reason(error.type, error.message)])})
        return _json(503 if reasons else 200, {"ready": not reasons, "reasons": _listed(reasons)})

    async def _metrics(self, request: Request) -> Reply:
        openmetrics = accepts_openmetrics(request.headers.get("accept", ""))
        families = await self._scrape.families()
        return Reply(200, render(families, openmetrics=openmetrics), OPENMETRICS if openmetrics else TEXT)


def _json(status: int, document: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(document, ensure_ascii=False) + "\n", JSON)


def _listed(reasons: list[Reason]) -> list[dict[str, str]]:
    return [reason._asdict() for reason in reasons]
