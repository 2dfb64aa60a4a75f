from sqlalchemy import select
from sqlalchemy.orm import Session

from orders import Order, Outbox, engine
from tako_lite import Client, workflow


@workflow("confirm", retries=5)
def confirm(payload: dict[str, int]) -> str:
    with Session(engine) as session, session.begin():
        order = session.get_one(Order, payload["order"])
        print(f"mail to {order.email}: your order {order.id}")  # stands for an SMTP server
        order.confirmed = True
        return order.email


@workflow("outbox", schedule="* * * * *", limit=1)
def outbox() -> int:
    """Enqueue what the outbox holds. The id of a row becomes that of its run, so a second try makes no second run."""
    with Session(engine) as session, Client() as client:
        rows = session.scalars(select(Outbox)).all()
        for row in rows:
            client.enqueue(row.workflow, row.payload, id=row.id)
            session.delete(row)
            session.commit()
        return len(rows)
