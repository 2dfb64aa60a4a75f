"""What `doctor` checks of a queue in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

from tako_lite.finding import Finding
from tako_lite.store.opening import QueueCheck
from tako_lite.store.postgres.address import Address


def database(address: Address, about: QueueCheck) -> Iterator[Finding]:
    """Whether the database answers."""
    yield from ()


def schema(address: Address, about: QueueCheck) -> Iterator[Finding]:
    """Whether the schema is up to date."""
    yield from ()
