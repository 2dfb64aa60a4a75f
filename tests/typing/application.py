"""An application as users write it: what both type checkers must accept and, with `type: ignore`, what both must refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from tako_lite import AsyncClient, BlockingStep, Client, Step, workflow
from tako_lite.records import Enqueued


@dataclass
class Order:
    number: int
    express: bool = False


@dataclass
class Receipt:
    text: str


def price(number: int) -> float:
    return number * 1.5


async def charge(number: int, amount: float) -> Receipt:
    return Receipt(f"{number}: {amount}")


@workflow("ship", worker="post", retries=3)
async def ship(payload: Order, step: Step) -> Receipt:
    amount = await step.run("price", price, payload.number)
    assert_type(amount, float)
    receipt = await step.run("charge", charge, payload.number, amount, retries=2)
    assert_type(receipt, Receipt)
    await step.sleep("pause", "1h")
    return receipt


@workflow("pack")
def pack(payload: Order, step: BlockingStep) -> int:
    assert_type(step.run("price", price, payload.number), float)
    step.run("price", price, "one")  # type: ignore
    assert_type(step.invoke("ship", ship, payload), Receipt)
    step.invoke("ship", ship, "order")  # type: ignore
    return payload.number


@workflow("parent")
async def parent(payload: list[int], step: Step) -> list[str]:
    receipts = [await step.invoke(f"ship {number}", ship, Order(number)) for number in payload]
    assert_type(receipts, list[Receipt])
    assert_type(await step.invoke("pack", pack, Order(1)), int)
    assert_type(await step.invoke("by name", "ship", {"number": 1}), Any)
    await step.invoke("ship", ship, {"number": 1})  # type: ignore
    await step.invoke("ship", ship, 7)  # type: ignore
    await step.enqueue("later", ship, Order(2))
    await step.enqueue("later", ship, 2)  # type: ignore
    await step.run("too few", charge, 1)  # type: ignore
    await step.run("wrong type", price, "one")  # type: ignore
    await step.run("built-in", len, 3)  # type: ignore
    await step.run("not called", price(1))  # type: ignore
    return [receipt.text for receipt in receipts]


def in_an_application(client: Client) -> None:
    assert_type(ship.enqueue(Order(17)), Enqueued)
    ship.enqueue(Order(17), delay="5m", unique_key="order-17")
    ship.enqueue({"number": 17})  # type: ignore
    ship.enqueue(17)  # type: ignore
    ship.enqueue()  # type: ignore
    ship.enqueue(Order(17), delayed="5m")  # type: ignore
    assert_type(client.enqueue("ship", {"number": 17}), Enqueued)


async def in_asyncio(client: AsyncClient) -> None:
    assert_type(await ship.aenqueue(Order(17)), Enqueued)
    await ship.aenqueue("17")  # type: ignore
    assert_type(await client.enqueue("ship", {"number": 17}), Enqueued)
