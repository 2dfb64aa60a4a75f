"""Orders in a database of their own, and the mails that follow them.

Run it beside `tako-lite serve`:  python orders.py ann@shop.example
"""

import sys
import uuid
from pathlib import Path

from sqlalchemy import JSON, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tako_lite.ext.sqlalchemy import enqueue_after_commit

engine = create_engine(f"sqlite:///{Path(__file__).parent / 'orders.db'}")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    confirmed: Mapped[bool] = mapped_column(default=False)


class Outbox(Base):
    """What is to be enqueued. Rows are committed with the rows that they belong to, so neither exists without the other."""

    __tablename__ = "outbox"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: str(uuid.uuid4()))
    workflow: Mapped[str]
    payload: Mapped[dict[str, object]] = mapped_column(JSON)


Base.metadata.create_all(engine)


def place(session: Session, email: str) -> int:
    """An order whose mail is enqueued after the commit. A crash in between leaves an order without a mail."""
    order = Order(email=email)
    session.add(order)
    session.flush()
    enqueue_after_commit(session, "confirm", {"order": order.id})
    return order.id


def place_surely(session: Session, email: str) -> int:
    """The same with an outbox: not even a crash separates the order from its mail."""
    order = Order(email=email)
    session.add(order)
    session.flush()
    session.add(Outbox(workflow="confirm", payload={"order": order.id}))
    enqueue_after_commit(session, "outbox")  # so that the mail does not wait for the next minute
    return order.id


if __name__ == "__main__":
    with Session(engine) as session, session.begin():
        place(session, sys.argv[1])
        place_surely(session, sys.argv[1])
