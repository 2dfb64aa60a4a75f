"""Executes commands on the queue itself while no daemon runs.

A client imports this module only when it finds no daemon: most clients need neither the store nor the catalog.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tako_lite import project_lint
from tako_lite.answers import check_scale, minutes_json, run_changes, run_filter
from tako_lite.audit import Sender, entry
from tako_lite.bulk import BulkProgress, bulk_filter, destination
from tako_lite.client.new_runs import hooks_of_project, new_runs, router_of, typed_arguments
from tako_lite.client.project import Project
from tako_lite.client.request import Request
from tako_lite.client.transport import unreachable
from tako_lite.client.who_serves import warn_of_file, warn_of_groups
from tako_lite.clock import Clock
from tako_lite.config import Config
from tako_lite.errors import CatalogError, NotFound, StoreDamaged, StoreError, StoreUnreachable
from tako_lite.names import check_event
from tako_lite.new_run import unknown_run
from tako_lite.protocol.arguments import (
    Bulk,
    Cancel,
    Discard,
    Edit,
    Enqueue,
    EnqueueMany,
    MoveGroup,
    MoveRuns,
    Retry,
    RunNow,
    Signal,
)
from tako_lite.protocol.commands import PAGE
from tako_lite.records import Batch, Run
from tako_lite.retry import RetryBatch
from tako_lite.routing import Router, check_group
from tako_lite.store.base import NO_COUNTS, GroupCounts, GroupOverride
from tako_lite.why import WhyContext, sentence


class OfflineBackend:
    """Answers requests as the daemon of a project would."""

    def __init__(self, project: Project, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        self.config = project.config()
        settings = self.config.queue
        self._location = settings.location
        self._queue = settings.location.open_offline(settings.durability, clock)

    def close(self) -> None:
        """Close the connections that are kept for the next call."""
        self._queue.close()

    def write(self, request: Request, patience: float) -> dict[str, Any] | None:
        """The answer to a command that writes; None if another program held the write lock for all of `patience` seconds."""
        typed, texts = typed_arguments(request), request.texts or []
        by = Sender(request.arguments.get("by") or {"source": request.source})
        if isinstance(typed, Signal):
            check_event(typed.event)
        new = self._new(typed, texts) if isinstance(typed, Enqueue | EnqueueMany) else []
        if not self._location.is_file:  # others may write a database meanwhile
            try:
                return self._carry_out(request, typed, new, by)
            except StoreUnreachable as error:
                if not error.is_unknown:
                    raise
                about = unreachable(error.message, request)
                raise StoreUnreachable(about.message, hint=about.hint) from error
        lock = self._location.write_lock()
        try:
            if not lock.acquire(patience):
                return None
        except OSError as error:  # its folder could not be created
            raise StoreError(f"{lock.path} cannot be locked: {error.strerror}") from error
        try:
            return self._carry_out(request, typed, new, by)
        finally:
            lock.release()

    def _carry_out(self, request: Request, typed: Any, new: list[Batch], by: Sender) -> dict[str, Any]:
        if request.command in ("pause", "resume", "scale"):
            answer = self._set_group(request.command, typed)
        else:
            answer = self._write(typed, new, request.texts or [], by)
        if (done := entry(request.command, typed, answer, by, self._clock.now())) is not None:
            self._queue.record_activity(done)
        return answer

    def read(self, request: Request) -> dict[str, Any]:
        """The answer to a command that reads."""
        typed = typed_arguments(request)
        match request.command:
            case "find":
                if (id := self._queue.resolve_ending(typed.ending)) is None:
                    raise unknown_run(typed.ending)
                return {"id": id}
            case "get":
                return {"run": {**self._run(typed.run_id).as_json(), "in_flight": []}}
            case "why":
                return {"sentence": self._why(self._run(typed.run_id))}
            case "runs":
                return {"runs": [run.as_json() for run in self._queue.list_runs(run_filter(typed), typed.page)]}
            case "ids":
                return {"ids": self._queue.list_run_ids(run_filter(typed))}
            case "count":
                return {"count": self._queue.count_runs(run_filter(typed), typed.limit)}
            case "activity":
                limit = PAGE if typed.limit is None else max(0, min(typed.limit, PAGE))
                found = self._queue.list_activity(limit, typed.before, actor=typed.actor, action=typed.action)
                return {"activity": [done.as_json() for done in found]}
            case "minutes":
                return {"minutes": minutes_json(self._queue.list_minutes(typed.since, typed.until))}
            case "schedules":
                return {"schedules": [schedule.as_json() for schedule in self._queue.list_schedules()]}
            case "triggers":
                return {"triggers": [trigger.as_json() for trigger in self._queue.list_triggers()]}
            case "workflows":
                return {"workflows": self._project.catalog().as_json()}
            case "backup":
                return self._backup(typed.file)
            case _:
                return self._status()

    def _router(self) -> Router:
        return router_of(self._project)

    def _new(self, request: Enqueue | EnqueueMany, texts: list[str]) -> list[Batch]:
        """The rows of new runs, made before the write lock is taken."""
        new = new_runs(self._project, request, texts, self._clock.now())
        if any(like.refusal for like, _ in new):
            self._queue.set_hooks(hooks_of_project(self._project))
        return new

    def _write(self, typed: Any, new: list[Batch], texts: list[str], by: Sender) -> dict[str, Any]:
        match typed:
            case Enqueue():
                made = self._queue.enqueue_run(new[0][0])
                waits = made.state == "pending" and not made.deduplicated
                return {**made.as_json(), "warning": made.warning or (self._warning({made.group}, 1) if waits else None)}
            case EnqueueMany():
                refused = self._queue.enqueue_batches(new)
                groups = {like.group for like, _ in new if like.refusal is None}
                return {"ids": typed.run_ids, "refused": refused, "warning": self._warning(groups, 2)}
            case Cancel():
                return {"outcomes": self._queue.cancel_runs(typed.run_ids)}
            case Discard():
                return {"outcomes": self._queue.discard_runs(typed.run_ids)}
            case Retry():
                return self._retry(typed)
            case RunNow():
                return {"outcomes": self._queue.run_now(typed.run_ids)}
            case MoveRuns():
                check_group(typed.to, self._router().groups)
                return {"outcomes": self._queue.move_each_run(typed.run_ids, typed.to)}
            case Edit():
                return {"outcome": self._edit(typed)}
            case Bulk():
                return self._bulk(typed, by)
            case MoveGroup():
                return {"moved": self._move(typed)}
            case _:
                return {"event": typed.event, **self._queue.store_signal(typed.event, texts[0])._asdict()}

    def _warning(self, groups: set[str], number: int) -> str | None:
        """Why new runs of these groups do not start yet, or None."""
        if self._location.is_file:
            return warn_of_file(number)
        return warn_of_groups(groups, self._queue.list_servers(), number)

    def _set_group(self, command: str, request: Any) -> dict[str, Any]:
        check_group(request.group, self._router().groups)
        if command == "scale":
            check_scale(request.workers)
            self._queue.scale_group(request.group, request.workers)
        else:
            self._queue.pause_group(request.group, command == "pause")
        return {}

    def _move(self, request: MoveGroup) -> int:
        groups = self._router().groups
        if request.to is not None:
            check_group(request.to, groups)
        moved = 0 if request.to is None else self._queue.move_runs(request.group, request.to)
        if request.group not in groups:
            self._queue.forget_group(request.group)
        return moved

    def _edit(self, request: Edit) -> str:
        changes = run_changes(request)
        if request.worker is not None:
            check_group(request.worker, self._router().groups)
        outcome = self._queue.edit_run(request.run_id, changes)
        if outcome == "edited" and request.worker is not None:
            self._queue.move_each_run([request.run_id], request.worker)
        return outcome

    def _bulk(self, request: Bulk, by: Sender) -> dict[str, Any]:
        """All of a bulk action at once: nothing else is served meanwhile."""
        now = self._clock.now()
        ids = self._queue.list_run_ids(bulk_filter(request, now))
        job = BulkProgress(request, len(ids), by, now)
        job.refuse_unexpected()
        job.add(self._change(request, ids, by))
        job.is_done = True
        if job.matched:
            self._queue.record_activity(job.as_activity())
        return job.as_json()

    def _change(self, request: Bulk, ids: list[str], by: Sender) -> dict[str, Any]:
        commands: dict[str, Any] = {"cancel": Cancel(ids), "discard": Discard(ids), "run_now": RunNow(ids)}
        commands |= {"retry": Retry(ids, request.fresh)}
        typed = MoveRuns(ids, destination(request)) if request.action == "move" else commands[request.action]
        return self._write(typed, [], [], by)

    def _retry(self, request: Retry) -> dict[str, Any]:
        batch = RetryBatch(self._project.catalog().workflows, self._router(), fresh=request.fresh)
        for id in request.run_ids:
            batch.add(id, self._queue.get_run(id))
        return batch.reply(self._queue.retry_runs(batch.routes, fresh=request.fresh))

    def _run(self, id: str) -> Run:
        run = self._queue.get_run(id)
        if run is None:
            raise unknown_run(id)
        return run

    def _why(self, run: Run) -> str:
        override = self._queue.list_group_overrides().get(run.group)
        found = [self._queue.get_run(wait.key) for wait in run.waits if wait.kind == "child" and wait.key]
        children = {child.id: child for child in found if child}
        paused = override is not None and override.paused
        context = WhyContext(now=self._clock.now(), is_paused=paused, children=children)
        if live := self._queue.list_servers():
            serving = tuple(server.name for server in live if server.serves(run.group))
            elsewhere = run.server if any(server.name == run.server for server in live) else None
            unserved = None if serving else f"no live server serves {run.group}"
            is_lost = run.state == "running" and elsewhere is None
            context = replace(context, has_daemon=not is_lost, runs_on=elsewhere, served_by=serving, unserved=unserved)
        return sentence(run, context)

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
        except (CatalogError, StoreDamaged) as error:  # damage that this count runs into must not hide the rest
            about_queue = [error.message]
        totals, now = self._queue.get_totals(), self._clock.now()
        names = sorted({*config.groups, *named, *(name for name, count in totals.counts.items() if count.live)})
        servers = self._queue.list_servers()
        groups = [_group(config, name, totals.counts.get(name, NO_COUNTS), totals.overrides.get(name), now) for name in names]
        for group in groups:
            group["servers"] = [server.name for server in servers if server.serves(group["name"])]
        return {
            "daemon": None,
            "groups": groups,
            "warnings": [*map(str, warnings), *about_queue],
            "queue": totals.stats,
            "servers": [server.as_json(names) for server in servers],
        }


def _group(config: Config, name: str, counts: GroupCounts, override: GroupOverride | None, now: int) -> dict[str, Any]:
    settings = config.group(name)
    scale = override.scale if override else None
    return {
        "name": name,
        "state": "paused" if override and override.paused else "zero",
        "workers": [],
        "min_workers": settings.workers if scale is None else scale,
        "max_workers": max(settings.max_workers, scale or 0),
        "concurrency": settings.concurrency,
        "busy": counts.running,
        "last_error": None,
        **counts.as_json(now),
    }
