"""The control connection of a server: its lease, what it hears and tells, and its looks at the queue.

It has a thread and a connection of its own, so that neither a slow transaction nor a busy event loop delays a renewal. The
thread waits for a notification, for something to tell, or for the next time at which it renews or looks. Notifications are
hints: each look finds what a lost one would have told.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final

import psycopg

from tako_lite.errors import AlreadyServing, StoreError, TakoError
from tako_lite.linux import boottime
from tako_lite.store.lease import Beat, Observer
from tako_lite.store.membership import GroupState, Listener, News, OtherServer, ServerFacts
from tako_lite.store.postgres import queries
from tako_lite.store.postgres.address import Address
from tako_lite.store.postgres.connection import apply_settings, connect, cut, first_line, is_pooled, translate
from tako_lite.store.postgres.messages import channel_of, parse, payloads
from tako_lite.store.postgres.transaction import Connection, PostgresTransaction
from tako_lite.store.sql import Statement

LOOK_EVERY: Final = 5.0
LOOK_EVERY_WITHOUT_LISTEN: Final = 1.0
NOTE_EVERY: Final = 30.0
"""Seconds between two notes to ourselves, which prove that notifications arrive."""
NOTE_PATIENCE: Final = 2.0
TELL_PAUSE: Final = 0.05
"""Seconds for which what is to be told is collected after the first was told at once."""
RETRY_AFTER: Final = 1.0
PATIENCE: Final = 8.0
"""Seconds for an answer of the database."""
FORGET_EVERY: Final = 3_600.0
_SETTINGS: Final = {"statement_timeout": "5s"}


class Control:
    """`store.membership.Membership` on a connection to the database."""

    def __init__(
        self,
        address: Address,
        server: str,
        constants: dict[str, Any],
        set_time: Callable[[int, float, float], None],
        note: Callable[[str, str], None],
        cut_writer: Callable[[], None],
    ) -> None:
        self.lease = address.lease
        self.others: tuple[OtherServer, ...] = ()
        self.elsewhere: frozenset[str] = frozenset()
        self.listens = False
        self._address = address
        self._server = server
        self._constants = constants
        self._set_time = set_time
        self._note = note
        self._cut_writer = cut_writer
        self._observer = Observer()
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wake_read = self._wake_write = -1
        self._wake_lock = threading.Lock()
        self._stopping = False
        self._news = News()
        self._news_lock = threading.Lock()
        self._announced: tuple[frozenset[str], dict[str, GroupState]] = (frozenset(), {})
        self._stored_workflows: frozenset[str] | None = None
        self._stored_states: dict[str, GroupState] = {}
        self._renew_at = self._look_at = self._note_at = self._told_at = self._forget_at = 0.0
        self._noted_at: float | None = None
        self._version: int | None = None
        self._trouble: str | None = None

    # From the event loop

    async def join(self, facts: ServerFacts, listener: Listener, waiting: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        await self._loop.run_in_executor(None, self._join, facts, waiting)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name="tako-lite lease", daemon=True)
        self._thread.start()

    async def leave(self) -> None:
        self._stopping = True
        self._wake()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, PATIENCE)
            if thread.is_alive() and (connection := self._connection) is not None:
                cut(connection)

    def announce(self, workflows: frozenset[str], states: Mapping[str, GroupState]) -> None:
        self._announced = (workflows, dict(states))
        self._look_at = 0.0
        self._wake()

    def tell(self, news: News) -> None:
        with self._news_lock:
            _merge(self._news, news)
        self._wake()

    def look_soon(self) -> None:
        self._look_at = 0.0
        self._wake()

    def abandon(self) -> None:
        self._cut_writer()

    def _wake(self) -> None:
        with self._wake_lock, suppress(OSError):  # it is full, or the thread does not run
            os.write(self._wake_write, b"x")

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(function, *arguments)

    # Joining, on a thread of the executor

    def _join(self, facts: ServerFacts, waiting: Callable[[str], None]) -> None:
        observer, met = Observer(), set[tuple[str, int]]()
        groups = None if facts.groups is None else json.dumps(facts.groups)
        own = {**facts._asdict(), "groups": groups, "lease": self.lease}
        del own["workflows"]
        self._announced = (facts.workflows, {})
        while True:
            try:
                sql = self._sql()
                self._execute(sql.end_own, server_id=facts.server_id, now=time.time_ns() // 1_000_000)
                sent_at = boottime()
                if self._execute(sql.join, **own):
                    self._announce()
                    self._watch_others()
                    self._renewed(sent_at)
                    return
                rivals = self._rows(sql.find_by_name, name=facts.name)
                for boot_id, host, beat, lease in rivals:
                    if met and (boot_id, beat) not in met:
                        raise _is_served(facts.name, host)
                    if not met:
                        what = f"server {facts.name} (host {host}) did not leave; its lease ends within {lease:.0f} s"
                        self._call(waiting, what)
                        self._notify(json.dumps({"renew": boot_id}))
                    met.add((boot_id, beat))
                    if observer.look(boottime(), {boot_id: Beat(beat, lease)}):
                        self._execute(sql.end_server, dead=boot_id, seen=beat)
            except psycopg.Error as error:
                self._drop()
                raise translate(error, self._address) from error
            if self._stopping:
                raise StoreError("the daemon is stopping")
            time.sleep(1.0)

    # The thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except (psycopg.Error, OSError, TakoError) as error:
                self._drop()
                self._say(translate(error, self._address).message)
                self._pause(RETRY_AFTER)
        with suppress(psycopg.Error, OSError, TakoError):
            self._execute(self._sql().leave)
        self._drop()
        with self._wake_lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1

    def _turn(self) -> None:
        connection = self._opened()
        now = time.monotonic()
        self._renew_if_due()
        if now >= self._note_at:
            self._send_note(now)
        if self._noted_at is not None and now - self._noted_at > NOTE_PATIENCE:
            self._noted_at, self.listens = None, False
        if now >= self._look_at:
            for part in (self._announce, self._watch_others, self._look):
                part()
                self._renew_if_due()  # each part takes a round trip, which may be slow
        self._hear(connection)
        self._send_news(now)
        if now >= self._forget_at:
            self._execute(self._sql().forget_ended)
            self._forget_at = now + FORGET_EVERY
        moments = [self._renew_at, self._look_at, self._note_at]
        if self._noted_at is not None:
            moments.append(self._noted_at + NOTE_PATIENCE)
        if self._news:
            moments.append(self._told_at + TELL_PAUSE)
        self._pause(max(min(moments) - time.monotonic(), 0.0), connection)

    def _pause(self, seconds: float, connection: Connection | None = None) -> None:
        watched = select.poll()
        watched.register(self._wake_read, select.POLLIN)
        if connection is not None:
            watched.register(connection.fileno(), select.POLLIN)
        for descriptor, _ in watched.poll(seconds * 1000 + 1):
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)

    def _renew_if_due(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        sent_at = boottime()
        found = self._rows(self._sql().renew)
        if not found:
            self._stopping = True
            lost = StoreError("another server has ended this one, because it did not renew its lease in time")
            if self._listener is not None:
                self._call(self._listener.lost, lost)
            return
        self._set_time(found[0][0], sent_at, boottime() - sent_at)
        self._renewed(sent_at)

    def _renewed(self, sent_at: float) -> None:
        took = boottime() - sent_at
        self._renew_at = time.monotonic() - took + self.lease / 6 * random.uniform(0.9, 1.1)  # noqa: S311
        self._say(None)
        if self._listener is not None:
            self._call(self._listener.renewed, sent_at)

    def _say(self, trouble: str | None) -> None:
        if trouble != self._trouble and self._listener is not None:
            self._call(self._listener.trouble, trouble)
        self._trouble = trouble

    # Notifications

    def _send_note(self, now: float) -> None:
        """Send a note to ourselves by the writer's connection: behind a pooler, a connection hears its own notes only."""
        self._note_at = now + NOTE_EVERY
        self._noted_at = now
        self._note(channel_of(self._address.schema), json.dumps({"note": self._constants["boot_id"]}))

    def _hear(self, connection: Connection) -> None:
        for notification in connection.notifies(timeout=0):
            with suppress(Exception):  # anyone may send a notification, with any text
                self._heard(json.loads(notification.payload))

    def _heard(self, message: dict[str, Any]) -> None:
        own: str = self._constants["boot_id"]
        if message.get("note") == own:
            self._noted_at, self.listens = None, True
        if message.get("renew") == own:
            self._renew_at = 0.0
        if message.get("b") == own or self._listener is None:
            return
        news = parse(message)
        if news.changed:
            self._look_at = 0.0
        if news:
            self._call(self._listener.heard, news)

    def _send_news(self, now: float) -> None:
        if not self._news or now - self._told_at < TELL_PAUSE:
            return
        with self._news_lock:
            news, self._news = self._news, News()
        self._told_at = now
        if not self.others:
            return
        try:
            self._notify(*payloads(news, self._constants["boot_id"]))
        except psycopg.Error as error:  # such as a full queue of notifications
            if self._connection is None or self._connection.closed or self._listener is None:
                raise
            self.listens = False  # others look each second, too, once they miss their notes
            self._call(self._listener.unsent, first_line(error))

    def _notify(self, *payloads: str) -> None:
        channel = channel_of(self._address.schema)
        notify = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"
        self._asked(lambda connection: connection.execute(notify, [channel, list(payloads)]))

    # Looks

    def _look(self) -> None:
        sql, news = self._sql(), News()
        orphans, cancelling, own, work, suspects, due, undelivered, ((version,),) = self._rows_of_each(
            (sql.is_any_orphan, {}),
            (sql.select_cancelling, {}),
            (sql.select_own, {}),
            (sql.groups_with_work, {"hold": ""}),
            (sql.groups_with_work, {"hold": "suspect"}),
            (sql.next_due, {}),
            (sql.is_any_undelivered, {}),
            (sql.version, {}),
        )
        news.orphans, news.signals = bool(orphans[0][0]), bool(undelivered[0][0])
        news.cancel = [id for (id,) in cancelling]
        news.claims = [(id, token) for id, token in own]
        news.work, news.suspects = {name for (name,) in work}, {name for (name,) in suspects}
        news.due = [moment for (moment,) in due if moment is not None]
        news.changed = self._version is not None and version != self._version
        self._version = version
        pause = min(LOOK_EVERY, self.lease / 6) if self.listens else LOOK_EVERY_WITHOUT_LISTEN
        self._look_at = time.monotonic() + pause * random.uniform(0.75, 1.25)  # noqa: S311
        if self._listener is not None:
            self._call(self._listener.looked, news)

    def _watch_others(self) -> None:
        sql = self._sql()
        asked = (sql.select_group_states, sql.select_others, sql.select_handlers_elsewhere)
        found = dict(zip(asked, self._rows_of_each(*((statement, {}) for statement in asked)), strict=True))
        others, beats = list_others(found.__getitem__)
        dead = self._observer.look(boottime(), beats)
        for boot_id in dead:
            self._execute(sql.end_server, dead=boot_id, seen=beats[boot_id].number)
        self.others = tuple(other for other in others if other.boot_id not in dead)
        elsewhere = [workflow for (workflow,) in found[sql.select_handlers_elsewhere]]
        self.elsewhere = frozenset(elsewhere)
        self._constants["elsewhere"] = json.dumps(elsewhere)

    def _announce(self) -> None:
        sql, (workflows, states) = self._sql(), self._announced
        if workflows != self._stored_workflows:
            names = json.dumps(sorted(workflows))
            self._send_each((sql.drop_handlers, {"workflows": names}), (sql.add_handlers, {"workflows": names}))
            self._stored_workflows = workflows
            if self._listener is not None:
                self._call(self._listener.announced)
        changed = {name: state for name, state in states.items() if self._stored_states.get(name) != state}
        if changed:
            self._send_each(*((sql.put_group_state, {"name": name, **state._asdict()}) for name, state in changed.items()))
            self._stored_states |= changed

    # The connection

    def _opened(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = connect(self._address, f"{self._server} control", _SETTINGS, listening=True, patience=PATIENCE)
            try:
                connection.execute(f'LISTEN "{channel_of(self._address.schema)}"')
                if is_pooled(connection):
                    connection.prepare_threshold = None
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._note_at = self._look_at = 0.0  # listen first, then look: nothing is missed in between
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self.listens = False
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _asked(self, function: Callable[[Connection], Any]) -> Any:
        connection = self._opened()
        if connection.prepare_threshold is not None:
            return function(connection)
        with connection.transaction():
            apply_settings(connection, self._address.schema, _SETTINGS, local=True)
            return function(connection)

    def _rows(self, statement: Statement, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._rows_of_each((statement, parameters))[0]

    def _rows_of_each(self, *asked: tuple[Statement, dict[str, Any]]) -> list[list[tuple[Any, ...]]]:
        return [cursor.fetchall() for cursor in self._send_each(*asked)]

    def _send_each(self, *asked: tuple[Statement, dict[str, Any]]) -> list[psycopg.Cursor[tuple[Any, ...]]]:
        """Execute statements in one round trip, even to prepare them: a slow answer delays the next renewal only once."""

        def ask(connection: Connection) -> list[psycopg.Cursor[tuple[Any, ...]]]:
            with connection.pipeline():
                return [
                    PostgresTransaction(connection, 0, self._constants).send(statement, parameters)
                    for statement, parameters in asked
                ]

        found: list[psycopg.Cursor[tuple[Any, ...]]] = self._asked(ask)
        return found

    def _execute(self, statement: Statement, **parameters: Any) -> int:
        return self._send_each((statement, parameters))[0].rowcount

    def _sql(self) -> Any:
        return queries.servers


def _is_served(name: str, host: str) -> AlreadyServing:
    return AlreadyServing(
        f"server {name} of this queue is served by another machine (host {host})",
        hint="give this one another name: tako-lite serve --server NAME",
    )


def list_others(fetch: Callable[[Statement], list[tuple[Any, ...]]]) -> tuple[list[OtherServer], dict[str, Beat]]:
    """The other live servers, and their beats by boot id."""
    sql = queries.servers
    states: dict[str, dict[str, GroupState]] = {}
    for boot_id, name, *state in fetch(sql.select_group_states):
        states.setdefault(boot_id, {})[name] = GroupState(*state)
    others, beats = [], {}
    for boot_id, name, host, program, groups, joined_at, lease_until, beat, lease in fetch(sql.select_others):
        served = None if groups is None else tuple(json.loads(groups))
        others.append(OtherServer(boot_id, name, host, program, served, joined_at, lease_until, states.get(boot_id, {})))
        beats[boot_id] = Beat(beat, lease)
    return others, beats


def _merge(into: News, news: News) -> None:
    for each in fields(News):
        old, new = getattr(into, each.name), getattr(news, each.name)
        setattr(into, each.name, old + new if isinstance(old, list) else old | new)
