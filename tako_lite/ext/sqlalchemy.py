"""Runs that are enqueued when a SQLAlchemy session commits. Needs `sqlalchemy` 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.util import await_only

from tako_lite.client import AsyncClient, Client, default_async_client, default_client, requests
from tako_lite.records import new_id

if TYPE_CHECKING:
    from typing import Unpack

    from tako_lite.client.blocking import AnyWorkflow
    from tako_lite.enqueue_options import EnqueueOptions

_KEY: Final = "tako_lite.after_commit"
AnySession: TypeAlias = "Session | AsyncSession | scoped_session[Session] | async_scoped_session[AsyncSession]"


def enqueue_after_commit(
    session: AnySession,
    workflow: AnyWorkflow,
    payload: Any = None,
    *,
    client: Client | AsyncClient | None = None,
    **options: Unpack[EnqueueOptions],
) -> str:
    """Enqueue a run once the transaction of a session has committed, and return its id at once.

    A rollback drops the run, and so does the rollback of the savepoint in which this was called. The payload and the options
    are checked and made JSON now. `client` is `Client()` for a session, and `AsyncClient()` for an `AsyncSession`. If the run
    cannot be stored, `commit()` raises the error of `Client.enqueue`, although the transaction has committed.
    """
    request = requests.enqueue(workflow, payload, {"id": new_id(), **options})
    if isinstance(session, scoped_session | async_scoped_session):
        session = session()
    is_async = isinstance(session, AsyncSession)
    inner: Session = session.sync_session if is_async else session
    send = _sender(client or (default_async_client() if is_async else default_client()), request.whole())
    _pending_of(inner).add(inner, send)
    return str(request.arguments["run_id"])


def _sender(client: Client | AsyncClient, arguments: dict[str, Any]) -> Callable[[], object]:
    """The call that stores a run. An asynchronous one is awaited by the greenlet in which the session works."""
    if isinstance(client, AsyncClient):
        return lambda: await_only(client.call("enqueue", **arguments))
    return lambda: client.call("enqueue", **arguments)


@dataclass
class _Pending:
    """The runs that wait for the commit of a session, each with the savepoint in which it was enqueued."""

    runs: list[tuple[SessionTransaction | None, Callable[[], object]]] = field(default_factory=list)
    committed: SessionTransaction | None = None

    def add(self, session: Session, send: Callable[[], object]) -> None:
        self.runs.append((session.get_nested_transaction(), send))

    def note_commit(self, session: Session) -> None:
        """A transaction or a savepoint has committed, and ends next."""
        self.committed = session.get_nested_transaction() or session.get_transaction()

    def end(self, session: Session, transaction: SessionTransaction) -> None:
        """Send the runs of a committed transaction, pass on those of a released savepoint, and drop those of others."""
        is_committed = transaction is self.committed
        if transaction.nested:
            outer = session.get_nested_transaction()
            runs = [(outer if place is transaction else place, send) for place, send in self.runs]
            self.runs = runs if is_committed else [run for run in self.runs if run[0] is not transaction]
        elif transaction.parent is None:
            runs, self.runs, self.committed = self.runs, [], None
            if is_committed:
                _send_all([send for _, send in runs])


def _pending_of(session: Session) -> _Pending:
    pending = session.info.get(_KEY)
    if not isinstance(pending, _Pending):
        pending = session.info[_KEY] = _Pending()
        event.listen(session, "after_commit", pending.note_commit)
        event.listen(session, "after_transaction_end", pending.end)
    return pending


def _send_all(senders: list[Callable[[], object]]) -> None:
    """Store each run, also after one that could not be stored. Raises the first error."""
    errors: list[Exception] = []
    for send in senders:
        try:
            send()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
