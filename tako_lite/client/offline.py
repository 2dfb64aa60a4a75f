"""What stands in for a daemon while none runs: the same commands, answered from the queue file.

This module is imported when a daemon was missed: most clients never need SQLite or the catalog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tako_lite import project_lint
from tako_lite.client.project import Project
from tako_lite.client.requests import Request
from tako_lite.clock import Clock
from tako_lite.config import Config
from tako_lite.errors import CatalogError, NotFound, StoreDamaged, StoreError
from tako_lite.lock import write_lock
from tako_lite.new_run import Again, Asked, check_event, make_many, make_run, pair, route_again, unknown_run
from tako_lite.protocol.commands import SHAPES, Cancel, Discard, Enqueue, EnqueueMany, Filter, MoveGroup, Retry, Signal
from tako_lite.records import Batch, Run
from tako_lite.routing import DEFAULT, Route, Router, unknown_group
from tako_lite.store.base import NO_COUNTS, GroupCounts, GroupOverride, RunFilter
from tako_lite.store.sqlite.offline import SqliteOfflineStore
from tako_lite.typed import converter
from tako_lite.why import WhyContext, sentence

NO_DAEMON: Final = "no daemon is running; the run starts when `tako-lite serve` does"
NO_DAEMON_MANY: Final = "no daemon is running; the runs start when `tako-lite serve` does"


class OfflineBackend:
    """Answers requests as the daemon of a project would."""

    def __init__(self, project: Project, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        settings = project.config().queue
        self._queue = SqliteOfflineStore(settings.path, settings.durability, clock)

    def write(self, request: Request, patience: float) -> dict[str, Any] | None:
        """The answer to a command that writes; None if somebody else was writing for all of `patience` seconds."""
        asked, texts = _typed(request), request.texts or []
        if isinstance(asked, Signal):
            check_event(asked.event)
        new = self._new(asked, texts) if isinstance(asked, Enqueue | EnqueueMany) else []
        lock = write_lock(self._project.config().queue.path)
        try:
            if not lock.acquire(patience):
                return None
        except OSError as error:  # its folder cannot be made
            raise StoreError(f"{lock.path} cannot be locked: {error.strerror}") from error
        try:
            return self._write(asked, new, texts)
        finally:
            lock.release()

    def read(self, request: Request) -> dict[str, Any]:
        """The answer to a command that reads."""
        asked = _typed(request)
        match request.command:
            case "find":
                if (id := self._queue.resolve_ending(asked.ending)) is None:
                    raise unknown_run(asked.ending)
                return {"id": id}
            case "get":
                return {"run": self._run(asked.run_id).as_json()}
            case "why":
                return {"sentence": self._why(self._run(asked.run_id))}
            case "runs":
                return {"runs": [run.as_json() for run in self._queue.list_runs(_filter(asked), asked.page)]}
            case "ids":
                return {"ids": self._queue.list_run_ids(_filter(asked))}
            case "schedules":
                return {"schedules": [schedule.as_json() for schedule in self._queue.list_schedules()]}
            case "triggers":
                return {"triggers": [trigger.as_json() for trigger in self._queue.list_triggers()]}
            case "workflows":
                return {"workflows": self._project.catalog().as_json()}
            case "backup":
                return self._backup(asked.file)
            case _:
                return self._status()

    def _router(self) -> Router:
        """Without a daemon every group counts as available: the next one judges that at its start."""
        config = self._project.config()
        return Router(config.routes, {*config.groups, *self._project.catalog().groups, DEFAULT})

    def _new(self, asked: Enqueue | EnqueueMany, texts: list[str]) -> list[Batch]:
        spec, now = self._project.catalog().get(asked.workflow), self._clock.now()
        key = asked.unique_key if isinstance(asked, Enqueue) else None
        wish = Asked(asked.worker, key, asked.delay, asked.at, asked.priority, asked.retries, asked.fallback, asked.tenant)
        if isinstance(asked, EnqueueMany):
            return make_many(spec, pair(asked.run_ids, texts), wish, self._router(), now)
        return [(make_run(spec, (texts or ["null"])[0], wish, self._router(), now, id=asked.run_id), ())]

    def _write(self, asked: Any, new: list[Batch], texts: list[str]) -> dict[str, Any]:
        match asked:
            case Enqueue():
                made = self._queue.enqueue_run(new[0][0])
                return {**made.as_json(), "warning": made.warning or NO_DAEMON}
            case EnqueueMany():
                refused = self._queue.enqueue_batches(new)
                return {"ids": asked.run_ids, "refused": refused, "warning": NO_DAEMON_MANY}
            case Cancel():
                return {"outcomes": self._queue.cancel_runs(asked.run_ids)}
            case Discard():
                return {"outcomes": self._queue.discard_runs(asked.run_ids)}
            case Retry():
                return self._retry(asked)
            case MoveGroup():
                return {"moved": self._move(asked)}
            case _:
                return {"event": asked.event, **self._queue.store_signal(asked.event, texts[0])._asdict()}

    def _move(self, asked: MoveGroup) -> int:
        groups = self._router().groups
        if asked.to is not None and asked.to not in groups:
            raise unknown_group(asked.to, groups)
        moved = 0 if asked.to is None else self._queue.move_runs(asked.group, asked.to)
        if asked.group not in groups:
            self._queue.forget_group(asked.group)
        return moved

    def _retry(self, asked: Retry) -> dict[str, Any]:
        routes, again = {}, Again(fresh=asked.fresh)
        for id in asked.run_ids:
            run = self._queue.get_run(id)
            routes[id] = self._route_again(run)
            again.add(run)
        return again.reply(self._queue.retry_runs(routes, fresh=asked.fresh))

    def _route_again(self, run: Run | None) -> Route:
        catalog = self._project.catalog()
        if run is None:
            return Route(DEFAULT, "default")
        spec = catalog.workflows.get(run.workflow)
        return route_again(run, None if spec is None else spec.plan, self._router())

    def _run(self, id: str) -> Run:
        run = self._queue.get_run(id)
        if run is None:
            raise unknown_run(id)
        return run

    def _why(self, run: Run) -> str:
        wish = self._queue.list_group_overrides().get(run.group)
        found = [self._queue.get_run(wait.key) for wait in run.waits if wait.kind == "child" and wait.key]
        children = {child.id: child for child in found if child}
        paused = wish is not None and wish.paused
        return sentence(run, WhyContext(now=self._clock.now(), is_paused=paused, children=children))

    def _backup(self, file: str) -> dict[str, Any]:
        size = self._queue.back_up(Path(file))
        if size is None:
            raise NotFound("there is no queue to copy yet: nothing was ever enqueued here")
        return {"file": file, "bytes": size}

    def _status(self) -> dict[str, Any]:
        config = self._project.config()
        warnings = list(config.warnings)
        named: frozenset[str] = frozenset()
        about_queue: list[str] = []
        try:
            catalog = self._project.catalog()
            named = catalog.groups
            warnings = [*project_lint.warnings(config, catalog)]
            about_queue = [*map(str, project_lint.undefined(catalog, self._queue.count_queued_by_workflow()))]
        except (CatalogError, StoreDamaged) as error:  # damage that this one question meets hides nothing else
            about_queue = [error.message]
        totals, now = self._queue.get_totals(), self._clock.now()
        names = sorted({*config.groups, *named, *(name for name, count in totals.counts.items() if count.live)})
        return {
            "daemon": None,
            "groups": [
                _group(config, name, totals.counts.get(name, NO_COUNTS), totals.overrides.get(name), now) for name in names
            ],
            "warnings": [*map(str, warnings), *about_queue],
            "queue": totals.stats,
        }


def _group(config: Config, name: str, counts: GroupCounts, wish: GroupOverride | None, now: int) -> dict[str, Any]:
    settings = config.group(name)
    scale = wish.scale if wish else None
    return {
        "name": name,
        "state": "paused" if wish and wish.paused else "zero",
        "servers": [],
        "workers": [],
        "min_workers": settings.workers if scale is None else scale,
        "max_workers": max(settings.max_workers, scale or 0),
        "concurrency": settings.concurrency,
        "busy": counts.running,
        "last_error": None,
        **counts.as_json(now),
    }


def _typed(request: Request) -> Any:
    """The arguments of a request in their shape. Raises BadInput."""
    return converter(SHAPES[request.command], request.command)(request.whole())


def _filter(asked: Filter) -> RunFilter:
    return RunFilter(asked.workflow, asked.group, asked.run_states(), asked.made_since(), asked.before)
