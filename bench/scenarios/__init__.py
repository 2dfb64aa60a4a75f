"""What is measured: a small file for each question, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.figures import Scenario
from bench.scenarios import (
    big_table,
    cli,
    cold,
    drain,
    enqueue_lone,
    enqueue_many,
    floor_cold,
    floor_drain,
    floor_memory,
    floor_requests,
    growth,
    idle,
    isolation,
    latency,
    memory_pending,
    open_page,
    postgresql,
    postgresql_load,
    postgresql_servers,
    raw_ceiling,
    reading,
    recovery,
    routing,
    testing,
    three_step,
    uvloop,
    warm_floor,
)

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "raw_ceiling": raw_ceiling,
    "drain": drain,
    "floor_drain": floor_drain,
    "three_step": three_step,
    "enqueue_many": enqueue_many,
    "enqueue_lone": enqueue_lone,
    "floor_requests": floor_requests,
    "warm_floor": warm_floor,
    "routing": routing,
    "latency": latency,
    "cold": cold,
    "floor_cold": floor_cold,
    "isolation": isolation,
    "cli": cli,
    "big_table": big_table,
    "reading": reading,
    "open_page": open_page,
    "idle": idle,
    "floor_memory": floor_memory,
    "memory_pending": memory_pending,
    "growth": growth,
    "recovery": recovery,
    "postgresql": postgresql,
    "postgresql_servers": postgresql_servers,
    "postgresql_load": postgresql_load,
    "testing": testing,
    "uvloop": uvloop,
}
BY_NAME: Final = frozenset({"postgresql_servers", "postgresql_load"})
"""Scenarios that take minutes, and are measured only where they are named."""
