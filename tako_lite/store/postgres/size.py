"""Measures the tables of a queue."""

from __future__ import annotations

from typing import Final

from tako_lite.store.postgres.transaction import Connection

_SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""


def size_of(connection: Connection) -> int:
    """The bytes that the tables and indexes of the queue take."""
    return int(connection.execute(_SIZE).fetchall()[0][0])
