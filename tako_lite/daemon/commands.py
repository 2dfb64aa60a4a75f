"""The closed set of commands on the control socket, typed, and what each of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from tako_lite.catalog import Catalog
from tako_lite.clock import Clock
from tako_lite.config import Config
from tako_lite.daemon.events import Events
from tako_lite.daemon.triggers import Triggers
from tako_lite.errors import BadInput, NotFound, WaitTimeout
from tako_lite.hints import did_you_mean
from tako_lite.new_run import Again, Asked, check_event, make_many, make_run, pair, route_again, unknown_run
from tako_lite.processes.group import Group
from tako_lite.protocol.commands import (
    SHAPES,
    Backup,
    Cancel,
    Discard,
    Enqueue,
    EnqueueMany,
    Filter,
    Find,
    MoveGroup,
    Nothing,
    OneGroup,
    OneRun,
    OneSchedule,
    PauseSchedule,
    Retry,
    Scale,
    Signal,
    Wait,
)
from tako_lite.records import Claimed, NewRun, Run
from tako_lite.routing import Route, Router, unknown_group
from tako_lite.states import TERMINAL
from tako_lite.store.base import RunFilter, Store
from tako_lite.typed import converter
from tako_lite.wire import encode_value

UNPROVEN_WAIT: Final = 1.0
"""Seconds that the first enqueue of a group waits to see whether the group can start at all."""


NOWHERE: Final = Route("default", "default")
"""The route of a run that does not exist."""


TOLD_AFTERWARDS: Final = frozenset({"pause", "resume", "scale", "move_group", "pause_schedule", "pause_trigger", "reload"})
"""Commands that store something and then act on it: a client that hangs up must not leave the one without the other."""


NAMED_BY: Final = {"unknown_workflow": "workflow", "unknown_schedule": "workflow", "unknown_trigger": "name"}
"""What may be defined in a file that was not read yet, with the argument that names it."""


class Project(Protocol):
    """What commands need of the daemon."""

    config: Config
    catalog: Catalog
    store: Store
    clock: Clock
    events: Events
    router: Router
    triggers: Triggers

    def group_names(self) -> set[str]: ...
    def before_enqueue(self, run: NewRun) -> None: ...
    def recheck_due(self, run: NewRun) -> None: ...
    def clear_pending_work(self, group: str) -> None: ...
    def wait_for_end(self, run_id: str) -> asyncio.Future[None]: ...
    async def wait_first_start(self, group: str, timeout: float) -> str | None: ...
    def trouble_of(self, group: str) -> str | None: ...
    def ensure_group(self, name: str) -> Group: ...
    async def status(self) -> dict[str, Any]: ...
    async def schedules(self) -> list[dict[str, Any]]: ...
    async def pause_schedule(self, workflow: str, paused: bool) -> None: ...
    async def reload(self) -> dict[str, Any]: ...
    async def unread_hint(self, name: str) -> str | None: ...
    async def prune(self) -> dict[str, int]: ...
    async def why(self, run: Run) -> str: ...
    async def backup(self, file: str) -> int: ...
    def with_worker_pid(self, run: Run) -> dict[str, Any]: ...


class Commands:
    """What each command does."""

    def __init__(self, project: Project) -> None:
        self._project = project
        actions: dict[str, Callable[[Any], Awaitable[dict[str, Any]]]] = {
            "enqueue": self.enqueue,
            "enqueue_many": self.enqueue_many,
            "signal": self._signal,
            "cancel": self._cancel,
            "discard": self._discard,
            "retry": self._retry,
            "find": self._find,
            "get": self._get,
            "wait": self._wait,
            "runs": self._runs,
            "ids": self._ids,
            "why": self._why,
            "status": self._status,
            "schedules": self._schedules,
            "pause_schedule": self._pause_schedule,
            "run_schedule": self._run_schedule,
            "triggers": project.triggers.list,
            "pause_trigger": project.triggers.pause,
            "run_trigger": project.triggers.run,
            "workflows": self._workflows,
            "pause": self._pause,
            "resume": self._resume,
            "scale": self._scale,
            "move_group": self._move_group,
            "reload": self._reload,
            "prune": self._prune,
            "backup": self._backup,
        }
        self._table = {name: (converter(SHAPES[name], name), action) for name, action in actions.items()}

    async def execute(self, command: object, arguments: dict[str, Any]) -> dict[str, Any]:
        """Check a command and carry it out. Raises BadInput for what is not one, else what the command raises."""
        entry = self._table.get(command) if isinstance(command, str) else None
        if entry is None:
            shown = str(command)[:60]
            raise BadInput(f"there is no command {shown!r}", hint=did_you_mean(shown, self._table))
        read, action = entry
        asked = read(arguments)
        work = action(asked)
        try:
            return await (asyncio.shield(_whole(work)) if command in TOLD_AFTERWARDS else work)
        except NotFound as error:
            if error.type in NAMED_BY and (hint := await self._project.unread_hint(getattr(asked, NAMED_BY[error.type], ""))):
                error.hint = hint
            raise

    def child(self, parent: Claimed, workflow: str, payload: str, options: dict[str, Any]) -> NewRun:
        """The run that a step starts, for the tenant of its parent."""
        asked: Enqueue = self._table["enqueue"][0]({"workflow": workflow, "tenant": parent.tenant, **options})
        spec = self._project.catalog.get(workflow)
        return make_run(
            spec, payload, _asked(asked), self._project.router, self._project.clock.now(), id=asked.run_id, parent=parent.id
        )

    # Runs

    async def enqueue(self, asked: Enqueue) -> dict[str, Any]:
        project = self._project
        spec = project.catalog.get(asked.workflow)
        asked_at = project.clock.now()
        run = make_run(spec, _value(asked.payload), _asked(asked), project.router, asked_at, id=asked.run_id)
        project.before_enqueue(run)
        (made,) = await project.store.enqueue_runs([run])
        if run.run_at > asked_at:
            project.recheck_due(run)
        answer = made.as_json()
        del answer["schema"]
        if made.state == "pending" and not made.deduplicated:
            answer["warning"] = await self._warning(run)
        return answer

    async def enqueue_many(self, asked: EnqueueMany) -> dict[str, Any]:
        project = self._project
        runs = pair(asked.run_ids, [_value(payload) for payload in asked.payloads])
        asked_at = project.clock.now()
        batches = make_many(project.catalog.get(asked.workflow), runs, _asked(asked), project.router, asked_at)
        refused = 0
        if runs:
            for like, _ in batches:
                project.before_enqueue(like)
            refused = await project.store.enqueue_batches(batches)
            for like, _ in batches:
                if like.run_at > asked_at:
                    project.recheck_due(like)
        troubles = (self._trouble(like) for like, _ in batches) if runs else ()
        return {"ids": asked.run_ids, "refused": refused, "warning": next(filter(None, troubles), None)}

    def _trouble(self, run: NewRun) -> str | None:
        return run.refusal.failure.message if run.refusal is not None else self._project.trouble_of(run.group)

    async def _warning(self, run: NewRun) -> str | None:
        """Why the run's group cannot start, if it cannot."""
        project = self._project
        if run.run_at > project.clock.now():
            return project.trouble_of(run.group)
        return await project.wait_first_start(run.group, UNPROVEN_WAIT)

    async def _signal(self, asked: Signal) -> dict[str, Any]:
        done = await self._project.store.store_signal(check_event(asked.event), _value(asked.payload))
        return {"event": asked.event, **done._asdict()}

    async def _cancel(self, asked: Cancel) -> dict[str, Any]:
        return {"outcomes": await self._project.store.cancel_runs(asked.run_ids)}

    async def _discard(self, asked: Discard) -> dict[str, Any]:
        return {"outcomes": await self._project.store.discard_runs(asked.run_ids)}

    async def _retry(self, asked: Retry) -> dict[str, Any]:
        routes, again = {}, Again(fresh=asked.fresh)
        for id in asked.run_ids:  # one at a time: a run may have a large payload
            run = await self._project.store.get_run(id)
            routes[id] = self._route_again(run)
            again.add(run)
        return again.reply(await self._project.store.retry_runs(routes, fresh=asked.fresh))

    def _route_again(self, run: Run | None) -> Route:
        if run is None:
            return NOWHERE
        spec = self._project.catalog.workflows.get(run.workflow)
        return route_again(run, None if spec is None else spec.plan, self._project.router)

    async def _find(self, asked: Find) -> dict[str, Any]:
        return {"id": await self._project.store.resolve_ending(asked.ending)}

    async def _get(self, asked: OneRun) -> dict[str, Any]:
        return {"run": self._project.with_worker_pid(await self._run(asked.run_id))}

    async def _run(self, run_id: str) -> Run:
        run = await self._project.store.get_run(run_id)
        if run is None:
            raise unknown_run(run_id)
        return run

    async def _wait(self, asked: Wait) -> dict[str, Any]:
        ended = self._project.wait_for_end(asked.run_id)
        try:
            run = await self._run(asked.run_id)
            async with asyncio.timeout(asked.timeout):
                while run.state not in TERMINAL:
                    await ended
                    run = await self._run(asked.run_id)
                    if run.state not in TERMINAL:
                        ended = self._project.wait_for_end(asked.run_id)
        except TimeoutError:
            raise WaitTimeout(f"run {asked.run_id} did not end within {asked.timeout:g} s") from None
        finally:
            ended.cancel()
        return {"run": self._project.with_worker_pid(run)}

    async def _runs(self, asked: Filter) -> dict[str, Any]:
        runs = await self._project.store.list_runs(_filter(asked), asked.page)
        return {"runs": [self._project.with_worker_pid(run) for run in runs]}

    async def _ids(self, asked: Filter) -> dict[str, Any]:
        return {"ids": await self._project.store.list_run_ids(_filter(asked))}

    async def _why(self, asked: OneRun) -> dict[str, Any]:
        return {"sentence": await self._project.why(await self._run(asked.run_id))}

    # The project

    async def _status(self, _: Nothing) -> dict[str, Any]:
        return await self._project.status()

    async def _schedules(self, _: Nothing) -> dict[str, Any]:
        return {"schedules": await self._project.schedules()}

    async def _pause_schedule(self, asked: PauseSchedule) -> dict[str, Any]:
        self._scheduled(asked.workflow)
        await self._project.pause_schedule(asked.workflow, asked.paused)
        return {}

    async def _run_schedule(self, asked: OneSchedule) -> dict[str, Any]:
        self._scheduled(asked.workflow)
        return await self.enqueue(Enqueue(asked.workflow))

    def _scheduled(self, workflow: str) -> None:
        scheduled = [spec.name for spec in self._project.catalog.workflows.values() if spec.options.schedule]
        if workflow not in scheduled:
            hint = did_you_mean(workflow, scheduled) or "tako-lite schedules shows them"
            raise NotFound(f"there is no schedule {workflow[:60]!r}", hint=hint, type="unknown_schedule")

    async def _workflows(self, _: Nothing) -> dict[str, Any]:
        return {"workflows": self._project.catalog.as_json()}

    async def _pause(self, asked: OneGroup) -> dict[str, Any]:
        group = self._group(asked.group)
        await self._project.store.pause_group(asked.group, True)
        group.pause(True)
        return {}

    async def _resume(self, asked: OneGroup) -> dict[str, Any]:
        group = self._group(asked.group)
        if group.paused:  # what is due is told with the commit: some of it may have been cancelled
            self._project.clear_pending_work(asked.group)
        await self._project.store.pause_group(asked.group, False)
        group.pause(False)
        return {}

    async def _scale(self, asked: Scale) -> dict[str, Any]:
        if asked.workers is not None and not 0 <= asked.workers <= 1000:
            raise BadInput(f"{asked.workers} workers are out of range", hint="0 to 1000")
        group = self._group(asked.group)
        await self._project.store.scale_group(asked.group, asked.workers)
        group.resize(asked.workers)
        return {}

    async def _move_group(self, asked: MoveGroup) -> dict[str, Any]:
        """The runs of a group go to another, or there are none; what was asked of a group without a table is forgotten."""
        moved = 0
        if asked.to is not None:
            self._group(asked.to)
            moved = await self._project.store.move_runs(asked.group, asked.to)
            self._project.events.moved(asked.group, asked.to, moved)
        if asked.group not in self._project.group_names():
            await self._project.store.forget_group(asked.group)
            if (group := self._project.ensure_group(asked.group)).paused:
                group.pause(False)
            group.resize(None)
        return {"moved": moved}

    def _group(self, name: str) -> Group:
        names = self._project.group_names()
        if name not in names:
            raise unknown_group(name, names)
        return self._project.ensure_group(name)

    async def _reload(self, _: Nothing) -> dict[str, Any]:
        return await self._project.reload()

    async def _prune(self, _: Nothing) -> dict[str, Any]:
        return {"pruned": await self._project.prune()}

    async def _backup(self, asked: Backup) -> dict[str, Any]:
        return {"file": asked.file, "bytes": await self._project.backup(asked.file)}


def _asked(asked: Enqueue | EnqueueMany) -> Asked:
    key = asked.unique_key if isinstance(asked, Enqueue) else None
    return Asked(asked.worker, key, asked.delay, asked.at, asked.priority, asked.retries, asked.fallback, asked.tenant)


def _whole(work: Awaitable[dict[str, Any]]) -> asyncio.Future[dict[str, Any]]:
    """Work that goes on to its end, whether or not somebody hears of it."""
    future = asyncio.ensure_future(work)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _filter(asked: Filter) -> RunFilter:
    return RunFilter(asked.workflow, asked.group, asked.run_states(), asked.made_since(), asked.before)


def _value(payload: Any) -> str:
    return "null" if payload is None else encode_value(payload, "the payload")
