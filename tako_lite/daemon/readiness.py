"""Whether the daemon is alive, and whether it can take and start work: for health checks of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from tako_lite.errors import NotFound, TakoError
from tako_lite.hints import did_you_mean
from tako_lite.processes.group import Group
from tako_lite.protocol.arguments import Health
from tako_lite.protocol.commands import Handler
from tako_lite.store.base import Store
from tako_lite.units import duration_text

ANSWERS_WITHIN: Final = 1.0
"""Seconds within which a store that is alive answers."""
_CODES: Final = {"storage_full": "disk_full"}


class Reason(NamedTuple):
    """Why a daemon is not ready."""

    code: str
    message: str


class Readiness:
    """Answers health checks from memory, except for one question to the thread of the store."""

    def __init__(self, store: Store, groups: Mapping[str, Group]) -> None:
        self.state: str = "starting"
        """`starting`, `serving` or `stopping`."""
        self._store = store
        self._groups = groups

    async def trouble(self) -> Reason | None:
        """Why the daemon is not alive; None if it is. One that is starting is alive."""
        if self.state != "serving":
            return None
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._store.ping()
        except TimeoutError:
            return Reason("stalled", f"the queue did not answer within {duration_text(ANSWERS_WITHIN)}")
        except TakoError as error:
            return Reason(error.type, error.message)
        return None

    def reasons(self, groups: Collection[str] = ()) -> list[Reason]:
        """Why the daemon is not ready, or one of these groups takes no work. Raises NotFound for a group without workers."""
        if self.state != "serving":
            return [Reason(self.state, f"the daemon is {self.state}")]
        found: list[Reason] = []
        self._store.check_file()
        if (trouble := self._store.trouble) is not None:
            found.append(Reason(_CODES.get(trouble.type, trouble.type), trouble.message))
        for name in groups:
            group = self._groups.get(name)
            if group is None:
                hint = did_you_mean(name, self._groups) or f"the groups are: {', '.join(sorted(self._groups))}"
                raise NotFound(f"there is no group {name[:60]!r}", hint=hint, type="unknown_group")
            if group.state in ("paused", "backoff", "unhealthy"):
                why = "" if group.paused else f": {group.last_error}"
                found.append(Reason(f"group_{group.state}", f"group {name} is {group.state}{why}"))
        return found

    async def lag(self, now: int) -> dict[str, float]:
        """How many seconds the oldest due run of each group has waited. Those of paused groups wait on purpose."""
        counts = await self._store.count_by_group(ended=False)
        return {
            name: max(now - count.oldest_due, 0) / 1000
            for name, count in counts.items()
            if count.oldest_due is not None and not (name in self._groups and self._groups[name].paused)
        }

    # The command

    def handlers(self) -> dict[str, Handler]:
        """The handlers by the names of their commands."""
        return {"health": self._health}

    async def _health(self, request: Health) -> dict[str, Any]:
        reasons = [] if (trouble := await self.trouble()) is None else [trouble]
        if request.ready and not reasons:
            reasons += self.reasons(request.groups)
        lag: dict[str, float] = {}
        if request.max_lag is not None and not reasons:
            lag = await self.lag(self._store.clock.now())
            reasons += [
                Reason("lagging", f"the oldest due run of group {name} has waited for {duration_text(round(seconds))}")
                for name, seconds in lag.items()
                if seconds > request.max_lag and (not request.groups or name in request.groups)
            ]
        return {"healthy": not reasons, "reasons": [reason._asdict() for reason in reasons], "lag_s": lag}
