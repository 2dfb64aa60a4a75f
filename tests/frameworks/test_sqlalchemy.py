"""`enqueue_after_commit`, with real transactions, savepoints and rollbacks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from tako_lite.client import AsyncClient, Client
from tako_lite.errors import BadInput, NotFound, TakoError
from tako_lite.ext.sqlalchemy import enqueue_after_commit
from tests.support.example_app import SLOW, copy_example, program
from tests.support.project import Project, wait_until

GREET = '@workflow("greet")\ndef greet(payload: object) -> object:\n    return payload\n'


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


@dataclass
class Mail:
    to: str
    at: datetime


@pytest.fixture(scope="module")
def queue(live: Project) -> Project:
    live.add("greet.py", GREET)
    return live


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path}/shop.db")
    use_savepoints(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def use_savepoints(engine: Engine) -> None:
    """Make SQLite's driver leave BEGIN to SQLAlchemy, which its savepoints need."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.fixture
def enqueue(queue: Project) -> Callable[..., str]:
    client = Client(queue.root)
    return lambda session, payload=None, **options: enqueue_after_commit(session, "greet", payload, client=client, **options)


def exists(queue: Project, id: str) -> bool:
    try:
        queue.get(id)
    except NotFound:
        return False
    return True


def test_a_run_is_enqueued_when_the_session_commits_and_not_before(
    engine: Engine, queue: Project, enqueue: Callable[..., str]
) -> None:
    with Session(engine) as session:
        session.add(Order(email="ann"))
        session.flush()
        id = enqueue(session, "first")
        assert not exists(queue, id)
        session.commit()
        assert queue.wait(id)["result"] == "first"
        second = enqueue(session, "second")  # the session is used again, and has no transaction yet
        session.commit()
        assert queue.wait(second)["result"] == "second"
    with Session(engine) as session, session.begin():
        third = enqueue(session, "third", delay="1h")
    assert queue.get(third)["state"] == "pending"


@pytest.mark.parametrize("how", ["rollback", "close", "error", "failed flush"])
def test_a_transaction_that_does_not_commit_drops_its_runs(
    engine: Engine, queue: Project, enqueue: Callable[..., str], how: str
) -> None:
    session = Session(engine)
    session.add(Order(id=1, email="ann"))
    session.flush()
    id = enqueue(session)
    if how == "rollback":
        session.rollback()
    elif how == "close":
        session.close()
    elif how == "error":
        with pytest.raises(RuntimeError), session:
            raise RuntimeError
    else:
        session.execute(text("INSERT INTO orders VALUES (2, 'bob')"))
        session.add(Order(id=2, email="bob"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    session.commit()
    session.close()
    assert not exists(queue, id)


def test_savepoints_keep_and_drop_their_own_runs(engine: Engine, queue: Project, enqueue: Callable[..., str]) -> None:
    with Session(engine) as session:
        kept = [enqueue(session)]
        with session.begin_nested():
            session.add(Order(email="ann"))
            session.flush()
            kept.append(enqueue(session))
        dropped = []
        with pytest.raises(RuntimeError), session.begin_nested():
            dropped.append(enqueue(session))
            with session.begin_nested():
                dropped.append(enqueue(session))
            raise RuntimeError
        inner = session.begin_nested()
        with session.begin_nested():
            kept.append(enqueue(session))
        inner.commit()
        kept.append(enqueue(session))
        assert not any(exists(queue, id) for id in kept)
        session.commit()
    assert all(exists(queue, id) for id in kept)
    assert not any(exists(queue, id) for id in dropped)


def test_a_rollback_of_everything_drops_the_runs_of_released_savepoints(
    engine: Engine, queue: Project, enqueue: Callable[..., str]
) -> None:
    with Session(engine) as session:
        with session.begin_nested():
            id = enqueue(session)
        session.rollback()
        later = enqueue(session)
        session.commit()
    assert (exists(queue, id), exists(queue, later)) == (False, True)


def test_the_payload_is_checked_and_made_json_when_it_is_given(
    engine: Engine, queue: Project, enqueue: Callable[..., str]
) -> None:
    with Session(engine) as session:
        tags = ["new"]
        id = enqueue(session, {"tags": tags})
        tags.append("changed")
        mail = enqueue(session, Mail("ann", datetime(2030, 1, 1)))
        with pytest.raises(BadInput, match="payload"):
            enqueue(session, object())
        with pytest.raises(BadInput, match="not a duration"):
            enqueue(session, None, delay="soon")
        session.commit()
    assert queue.get(id)["payload"] == {"tags": ["new"]}
    assert queue.get(mail)["payload"] == {"to": "ann", "at": "2030-01-01T00:00:00"}


def test_a_run_that_cannot_be_stored_is_an_error_of_the_commit_and_loses_no_other(
    engine: Engine, queue: Project, enqueue: Callable[..., str]
) -> None:
    with Session(engine) as session:
        session.add(Order(email="ann"))
        enqueue_after_commit(session, "unknown", client=Client(queue.root))
        id = enqueue(session)
        with pytest.raises(TakoError, match="unknown"):
            session.commit()
        assert exists(queue, id)
        assert session.query(Order).count() == 1


def test_a_scoped_session_is_taken_too(engine: Engine, queue: Project, enqueue: Callable[..., str]) -> None:
    session = scoped_session(sessionmaker(engine))
    id = enqueue(session)
    session.commit()
    session.remove()
    assert exists(queue, id)


def test_an_async_session_enqueues_without_blocking_its_loop(tmp_path: Path, queue: Project) -> None:
    async def main() -> tuple[list[str], list[str]]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        use_savepoints(engine.sync_engine)
        client = AsyncClient(queue.root)
        sessions = async_sessionmaker(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        def enqueue(session: AsyncSession) -> str:
            return enqueue_after_commit(session, "greet", 1, client=client)

        kept, dropped = [], []
        async with sessions() as session:
            session.add(Order(email="ann"))
            kept.append(enqueue(session))
            with pytest.raises(RuntimeError):
                async with session.begin_nested():
                    dropped.append(enqueue(session))
                    raise RuntimeError
            await session.commit()
            dropped.append(enqueue(session))
            await session.rollback()
            dropped.append(enqueue(session))
        async with sessions.begin() as session:
            kept.append(enqueue(session))
        await engine.dispose()
        return kept, dropped

    kept, dropped = asyncio.run(main())
    assert [queue.wait(id)["state"] for id in kept] == ["succeeded", "succeeded"]
    assert not any(exists(queue, id) for id in dropped)


def test_the_example_confirms_its_orders_and_empties_its_outbox(tmp_path: Path) -> None:
    folder = copy_example("sqlalchemy", tmp_path)
    with program(folder, ["-m", "tako_lite", "serve"]):
        client = Client(folder)
        wait_until(lambda: client.status()["daemon"], "the daemon answers", SLOW)
        with program(folder, ["orders.py", "ann@shop.example"]) as placing:
            assert placing.wait(SLOW) == 0, (folder / "output.txt").read_text()
        wait_until(lambda: rows(folder) == ([(1, 1), (2, 1)], []), "both orders are confirmed", SLOW)
    confirmed = [run["result"] for run in client.runs(workflow="confirm")]
    assert confirmed == ["ann@shop.example"] * 2


def rows(folder: Path) -> tuple[list[Any], list[Any]]:
    with closing(sqlite3.connect(folder / "orders.db")) as database:
        orders = database.execute("SELECT id, confirmed FROM orders ORDER BY id").fetchall()
        return orders, database.execute("SELECT id FROM outbox").fetchall()
