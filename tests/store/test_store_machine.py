"""Conformance: any sequence of transitions, on every backend."""

from __future__ import annotations

import pytest

from tests.store.machine import EXAMPLES, StoreMachine, run_machine
from tests.support.backends import Backend, PostgresBackend
from tests.support.postgres import Database


@pytest.mark.full
@pytest.mark.timeout(0 if EXAMPLES else 240)
def test_whatever_happens_in_whatever_order_the_store_is_as_the_model_says(backend: Backend) -> None:
    run_machine(lambda: StoreMachine(backend), 20 if backend.name == "sqlite" else 10)


def test_a_few_sequences_on_postgresql_which_the_gate_takes_where_there_is_one(database: Database) -> None:
    run_machine(lambda: StoreMachine(PostgresBackend(database)), 2)
