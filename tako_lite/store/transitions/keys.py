"""What a run counts for: the keys of its workflow's limit and rate."""

from __future__ import annotations

from typing import NamedTuple

from tako_lite.new_run import key_of
from tako_lite.store.base import Limit
from tako_lite.store.transitions.transaction import Transaction


class Keys(NamedTuple):
    """The key of the limit and that of the rate; None where the workflow had none when the run was stored."""

    limit: str | None
    rate: str | None


def recompute_keys(
    transaction: Transaction, limit: Limit, id: str, workflow: str, keys: Keys, payload: str, tenant: str | None
) -> tuple[str, str | None]:
    """The keys of a run from now on, stored if the limit of its workflow has changed since the run was stored."""
    key = key_of(limit.key, payload, tenant)
    rate_key = None if limit.rate is None else key_of(limit.rate_key, payload, tenant)
    if (key, rate_key) != keys:
        transaction.execute(transaction.sql.limits.set_keys, limit_key=key, rate_key=rate_key, id=id)
        mark_freed(transaction, workflow, *keys)
    return key, rate_key


def mark_freed(transaction: Transaction, workflow: str, key: str | None, rate_key: str | None) -> None:
    """Have `release` look at these keys: a run no longer counts for them, or counts in another state."""
    if key is not None:
        transaction.freed.add((workflow, key))
    if rate_key is not None:
        transaction.paced.add((workflow, rate_key))
