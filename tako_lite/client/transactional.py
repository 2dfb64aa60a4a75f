"""Enqueues through a connection of the user: runs are stored if its transaction commits, and only then.

The servers of the queue learn of it by a notification in the same statement, which reaches them with the commit. If the
connection can call us after its commit, and a daemon runs on this machine, the client wakes that daemon instead. Both are only
hints: a server that misses them finds the runs when it next looks, within seconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from tako_lite.client.new_runs import hooks_of_project, new_runs, typed_arguments
from tako_lite.client.project import Project
from tako_lite.client.request import Request
from tako_lite.client.requests import Ids
from tako_lite.client.transport import Transport
from tako_lite.client.user_connection import Row, UserConnection, resolve, sqlstate_of
from tako_lite.clock import Clock
from tako_lite.errors import BadInput, StoreBusy, StoreError
from tako_lite.names import check_event
from tako_lite.records import Enqueued, NewRun
from tako_lite.routing import matches_any
from tako_lite.store.postgres import transactional
from tako_lite.store.postgres.transactional import Parameters
from tako_lite.store.transitions.hooks import death_payload
from tako_lite.store.transitions.rows import DeadRun

NOTIFY_EVERY: Final = 0.1
"""Seconds in which this process may notify a group once more: notifying commits wait for each other, in the whole cluster."""
NOTIFY_AT_ONCE: Final = 20
"""How many notifications of a group may be sent at once after a pause."""
TRIES: Final = 5
"""How often a statement is executed while rivals commit and end the runs that it meets."""
_MISSING: Final = ("42P01", "3F000")
_OLDER: Final = "42703"
_DENIED: Final = "42501"
_SIGNALS: Final = "@signals"
"""Where `_notified` has a group, what stands for signals."""

_notified: dict[tuple[str, str], float] = {}
"""By schema and group: when as many notifications as this process has sent would have been due at an even pace."""


class Wake(NamedTuple):
    """What a daemon is told after a commit: groups with due runs, when a delayed run is due, whether there is a signal."""

    work: tuple[str, ...] = ()
    due: int | None = None
    signals: bool = False


class Rows(NamedTuple):
    """The rows of a request, and of the hook workflows that follow from refusals; `refusal` is the reason of the first one."""

    rows: list[dict[str, Any]]
    wake: Wake
    groups: frozenset[str]
    refused: int
    refusal: str | None


def rows_for(project: Project, request: Request, now: int) -> Rows:
    """The rows of an `enqueue` or `enqueue_many`. Raises BadInput, NotFound, ConfigError and CatalogError."""
    typed = typed_arguments(request)
    batches = new_runs(project, typed, request.texts or [], now)
    rows: list[dict[str, Any]] = []
    for batch in batches:
        rows += transactional.rows_of(batch, typed.delay, typed.at, len(rows))
    refused = [(like, id) for like, runs in batches if like.refusal is not None for id, _ in runs]
    hook_runs = _hook_runs(project, refused, now) if refused else []
    for run in hook_runs:
        rows += transactional.rows_of((run, ((run.id, run.payload),)), None, None, len(rows))
    pending = [like for like, _ in batches if like.refusal is None] + hook_runs
    due_now = tuple({run.group for run in pending if run.run_at <= now and run.limit_key is None})
    later = [run.run_at for run in pending if run.run_at > now or run.limit_key is not None]
    wake = Wake(due_now, min(later, default=None))
    reason = next((like.refusal.failure.message for like, _ in batches if like.refusal is not None), None)
    return Rows(rows, wake, frozenset(run.group for run in pending), len(refused), reason)


def _hook_runs(project: Project, refused: Sequence[tuple[NewRun, str]], now: int) -> list[NewRun]:
    """The runs of hook workflows that follow from refused runs. Their ids follow too: a repeated request makes no others."""
    hooks = hooks_of_project(project)
    found = []
    for like, id in refused:
        if like.refusal is None or like.refusal.state != "dead" or like.workflow in hooks.workflows:
            continue
        dead = DeadRun(like.workflow, like.group, like.tenant, 0, now, like.refusal.failure.as_text())
        for hook in hooks.on_dead:
            if matches_any(like.workflow, hook.patterns):
                run = hook.make(death_payload(id, dead), id, now)
                found.append(run._replace(id=str(uuid.uuid5(uuid.UUID(id), run.workflow))))
    return found


def schema_of(project: Project, what: str) -> str:
    """The schema of the queue. Raises BadInput where that is a file."""
    queue = project.config().queue.location
    if queue.schema is None:
        raise BadInput(
            f"{what} needs a queue in PostgreSQL, and the queue of this project is the file {queue}",
            hint="enqueue once the transaction has committed: transaction.on_commit(…) of Django, or enqueue_after_commit(…) "
            "for SQLAlchemy; docs/frameworks.md shows both",
        )
    return queue.schema


class UserTransactions:
    """Stores runs in transactions of the user, for one client."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._project = transport.project()

    def statement(self, request: Request, style: str, notify: bool) -> tuple[str, Parameters]:
        """The statement that stores a run, for a connection that `resolve` does not know."""
        schema, checked = schema_of(self._project, "statement()"), transactional.check_style(style)
        made = rows_for(self._project, request, self._clock.now())
        return transactional.enqueue(schema, checked, made.rows, self._paced(schema, made.groups) if notify else {})

    async def enqueue(self, request: Request, connection: Any, notify: bool) -> Enqueued:
        """Store a run. Raises the errors of the driver, but explains those about the schema and its rights."""
        made, rows = await self._store(request, self._open(connection), notify)
        id, state, group, deduplicated = rows[0]
        return Enqueued(id, state, group, deduplicated, None if deduplicated else made.refusal)

    async def enqueue_many(self, many: Iterable[Request], connection: Any, notify: bool) -> Ids:
        """Store many runs, a statement for each part of them."""
        ids, opened = Ids(), self._open(connection)
        for request in many:
            made, _ = await self._store(request, opened, notify)
            ids += request.arguments["run_ids"]
            ids.refused += made.refused
            ids.warning = made.refusal or ids.warning
        return ids

    async def signal(self, request: Request, connection: Any, notify: bool) -> None:
        """Store a signal. The waits for it end after the commit."""
        typed, (payload,) = typed_arguments(request), request.texts or ["null"]
        opened, event = self._open(connection), check_event(typed.event)
        await opened.prepare()
        schema = schema_of(self._project, "connection=")
        is_told_later = notify and self._tell_after_commit(opened, Wake(signals=True))
        notified = self._paced(schema, [_SIGNALS]).get(_SIGNALS) if notify and not is_told_later else None
        await _execute(opened, schema, *transactional.signal(schema, opened.style, event, payload, notified=notified))

    def _open(self, connection: Any) -> UserConnection:
        schema_of(self._project, "connection=")
        found = resolve(connection)
        if found.is_async != self._transport.io.is_async:
            kinds = ("a blocking", "an async")
            clients = ("handle.enqueue(…) or Client", "handle.aenqueue(…) or AsyncClient")
            raise BadInput(
                f"connection is {kinds[found.is_async]} one, and this is {kinds[not found.is_async]} call",
                hint=f"use {clients[found.is_async]} with it",
            )
        return found

    async def _store(self, request: Request, connection: UserConnection, notify: bool) -> tuple[Rows, list[Row]]:
        made = await self._transport.io.offload(lambda: rows_for(self._project, request, self._clock.now()))
        await connection.prepare()
        schema = schema_of(self._project, "connection=")
        is_told_later = notify and self._tell_after_commit(connection, made.wake)
        groups = self._paced(schema, made.groups) if notify and not is_told_later else {}
        for _ in range(TRIES):
            sql, parameters = transactional.enqueue(schema, connection.style, made.rows, groups)
            if rows := await _execute(connection, schema, sql, parameters):
                return made, rows
        raise StoreBusy("other transactions kept storing and ending a run with the same unique key", hint="try again")

    def _tell_after_commit(self, connection: UserConnection, wake: Wake) -> bool:
        """Whether the daemon of this machine will be told after the commit; it notifies the other servers."""
        if not self._project.has_daemon():
            return False
        return connection.after_commit(lambda: self._transport.tell(Request("wake", wake._asdict())))

    def _paced(self, schema: str, groups: Iterable[str]) -> dict[str, bool]:
        """Those of some groups that are notified now, and whether the servers must look again, as the next run may not be."""
        now = self._clock.monotonic()
        found = {}
        for group in groups:
            ahead = max(_notified.get((schema, group), now) - now, 0.0) / NOTIFY_EVERY + 1
            if ahead < NOTIFY_AT_ONCE + 0.5:
                _notified[schema, group] = now + ahead * NOTIFY_EVERY
                found[group] = ahead + 1 >= NOTIFY_AT_ONCE + 0.5
        return found


async def _execute(connection: UserConnection, schema: str, sql: str, parameters: Parameters) -> list[Row]:
    try:
        return await connection.fetch(sql, parameters)
    except Exception as error:
        if (explained := _explained(error, schema)) is not None:
            raise explained from error
        raise


def _explained(error: Exception, schema: str) -> StoreError | None:
    """The error of ours for one of the driver that is about the schema of the queue, or the rights on it."""
    state = sqlstate_of(error)
    if state in _MISSING:
        return StoreError(
            f"the database of this connection has no queue in the schema {schema}",
            hint="tako-lite migrate makes it; the connection must lead to the database that [queue] url names",
        )
    if state == _OLDER:
        return StoreError(
            f"the queue in the schema {schema} is of another release of tako-lite",
            hint="tako-lite migrate brings it up to date",
        )
    if state == _DENIED:
        return StoreError(
            f"the role of this connection may not store runs in the schema {schema}",
            hint=f"GRANT USAGE ON SCHEMA {schema} TO role; GRANT SELECT, INSERT ON {schema}.runs, {schema}.signals TO role",
        )
    return None
