"""What stands in for a daemon while none runs: the same commands, answered from the queue file.

This module is imported when a daemon was missed: most clients never need SQLite or the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tako_lite.client.project import Project
from tako_lite.client.requests import Request
from tako_lite.clock import SystemClock
from tako_lite.config import Config, unreachable
from tako_lite.errors import BadInput, CatalogError, NotFound, StoreError
from tako_lite.lock import write_lock
from tako_lite.records import NewRun
from tako_lite.routing import Asked, check_event, make_run
from tako_lite.store.base import GroupCounts, GroupWish, RunFilter
from tako_lite.store.sqlite.offline import OfflineQueue

NO_DAEMON: Final = "no daemon is running; the run starts when `tako-lite serve` does"
NO_DAEMON_MANY: Final = "no daemon is running; the runs start when `tako-lite serve` does"
_NO_COUNTS: Final = GroupCounts(0, 0, 0, 0, None, 0, 0)
_ASKED: Final = frozenset({"worker", "unique_key", "delay", "at", "priority", "retries"})


class StandIn:
    """Answers requests as the daemon of a project would."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._clock = SystemClock()
        settings = project.config().queue
        self._queue = OfflineQueue(settings.path, settings.durability, self._clock)

    def write(self, request: Request, patience: float) -> dict[str, Any] | None:
        """The answer to a command that writes; None if somebody else was writing for all of `patience` seconds."""
        new = self._new_runs(request) if request.command.startswith("enqueue") else []
        if request.command == "signal":
            check_event(request.arguments["event"])
        lock = write_lock(self._project.state_dir)
        try:
            if not lock.acquire(patience):
                return None
        except OSError as error:
            raise StoreError(f"{lock.path} cannot be locked: {error.strerror}") from error
        try:
            return self._write(request, new)
        finally:
            lock.release()

    def read(self, request: Request) -> dict[str, Any]:
        """The answer to a command that reads."""
        arguments = request.arguments
        match request.command:
            case "get":
                if (run := self._queue.get(arguments["run_id"])) is None:
                    raise NotFound(f"no run has the id {arguments['run_id']!r}", type="unknown_run")
                return {"run": run.as_json()}
            case "find":
                if (id := self._queue.resolve_ending(arguments["ending"])) is None:
                    raise NotFound("there are no runs yet: nothing was ever enqueued here", type="unknown_run")
                return {"id": id}
            case "runs":
                found = self._queue.list_runs(_filter(arguments), arguments.get("limit"))
                return {"runs": [run.as_json() for run in found]}
            case "ids":
                return {"ids": self._queue.ids(_filter(arguments))}
            case _:
                return self._status()

    def _new_runs(self, request: Request) -> list[NewRun]:
        arguments = request.arguments
        config, catalog = self._project.config(), self._project.catalog()
        spec = catalog.get(arguments["workflow"])
        groups = {*config.groups, *catalog.groups, "default"}
        asked = Asked(**{key: value for key, value in arguments.items() if key in _ASKED})
        ids = arguments["run_ids"] if request.command == "enqueue_many" else [arguments["run_id"]]
        texts, now = request.texts or [], self._clock.now()
        if len(ids) != len(texts):
            raise BadInput(f"{len(texts)} payloads and {len(ids)} ids were given")
        return [
            make_run(spec.name, spec.options, text, asked, groups, now, id=id)
            for id, text in zip(ids, texts, strict=True)
        ]  # fmt: skip

    def _write(self, request: Request, new: list[NewRun]) -> dict[str, Any]:
        arguments = request.arguments
        match request.command:
            case "enqueue":
                return {**self._queue.enqueue(new)[0].as_json(), "warning": NO_DAEMON}
            case "enqueue_many":
                return {"ids": [run.id for run in self._queue.enqueue(new)], "warning": NO_DAEMON_MANY}
            case "cancel":
                return {"outcomes": self._queue.cancel(arguments["run_ids"])}
            case "retry":
                return {"outcomes": self._queue.retry(arguments["run_ids"], bool(arguments.get("fresh")))}
            case _:
                woken = self._queue.signal(arguments["event"], (request.texts or ["null"])[0])
                return {"event": arguments["event"], "woken": woken}

    def _status(self) -> dict[str, Any]:
        config = self._project.config()
        warnings = list(config.warnings)
        named: frozenset[str] = frozenset()
        broken: list[str] = []
        try:
            catalog = self._project.catalog()
            named = catalog.groups
            warnings += [*catalog.warnings, *unreachable(config, named)]
        except CatalogError as error:
            broken.append(error.message)
        totals, now = self._queue.totals(), self._clock.now()
        names = sorted({*config.groups, *named, *totals.counts})
        return {
            "daemon": None,
            "groups": [
                _group(config, name, totals.counts.get(name, _NO_COUNTS), totals.wishes.get(name), now) for name in names
            ],
            "warnings": [*map(str, warnings), *broken],
            "queue": totals.stats,
        }


def _group(config: Config, name: str, counts: GroupCounts, wish: GroupWish | None, now: int) -> dict[str, Any]:
    settings = config.group(name)
    scale = wish.scale if wish else None
    return {
        "name": name,
        "state": "paused" if wish and wish.paused else "zero",
        "workers": [],
        "min_workers": settings.workers if scale is None else scale,
        "max_workers": max(settings.max_workers, scale or 0),
        "concurrency": settings.concurrency,
        "busy": counts.running,
        "pending": counts.pending,
        "waiting": counts.waiting,
        "dead": counts.dead,
        "oldest_wait_s": None if counts.oldest_due is None else max(0, now - counts.oldest_due) / 1000,
        "last_error": None,
        "done_a_minute": counts.done_a_minute,
        "failed_a_minute": counts.failed_a_minute,
    }


def _filter(arguments: Mapping[str, Any]) -> RunFilter:
    return RunFilter(
        arguments.get("workflow"), arguments.get("group"), tuple(arguments.get("states") or ()), arguments.get("since")
    )  # fmt: skip
