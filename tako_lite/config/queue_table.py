"""Reads `[queue]`: where the queue is, and how long ended runs are kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from tako_lite.config import state_folder, values
from tako_lite.config.collector import Collector
from tako_lite.config.settings import KEEP, QueueSettings
from tako_lite.errors import Mistake
from tako_lite.store.opening import SQLITE, Queue

TABLE: Final = "queue"
_POSTGRES_KEYS: Final = ("schema", "password", "listen_url", "lease")
_KEYS: Final = ("url", "durability", "keep", *_POSTGRES_KEYS)
_MAY_HOLD_PASSWORDS: Final = ("url", "password", "listen_url")


def read_queue(collector: Collector, project: dict[str, Any], name: str, state_dir: Path, root: Path) -> QueueSettings:
    """Read the table of a project. A name that only the folder gives says nothing about the owner of a shared queue."""
    table = collector.table((TABLE,), project.get(TABLE, {}))
    for key in table:
        if key not in _KEYS:
            collector.unknown((TABLE, key), _KEYS)
    before = len(collector.mistakes)
    shared_by = name if "name" in project else None
    read_url = values.queue(root, state_dir, project=shared_by, **_of_database(collector, table, root))
    url, location = collector.value((TABLE,), table, "url", read_url) or read_url(state_folder.queue_url(state_dir, root))
    collector.mistakes[before:] = map(partial(_without_password, collector, table), collector.mistakes[before:])
    keep = collector.entries((TABLE, "keep"), table.get("keep", {}), values.keep_state)
    return QueueSettings(
        url=url,
        location=location,
        durability=collector.value((TABLE,), table, "durability", values.durability) or "disk",
        keep={**KEEP, **keep},
    )


def queue_warnings(collector: Collector, queue: Queue) -> Iterator[Mistake]:
    """What is wrong with the encryption of the queue's connections."""
    if (found := queue.warning()) is not None and collector.document is not None:
        message, _, hint = found.partition(": ")
        yield collector.document.mistake((TABLE, "url"), message, hint)


def _without_password(collector: Collector, table: dict[str, Any], mistake: Mistake) -> Mistake:
    """The same mistake, without the value of a setting in which somebody may have written a password."""
    for key in _MAY_HOLD_PASSWORDS:
        if mistake.message.startswith(f"`{key}`: ") and (key == "password" or "@" in str(table[key])):
            return collector.without_value((TABLE, key), mistake)
    return mistake


def _of_database(collector: Collector, table: dict[str, Any], root: Path) -> dict[str, Any]:
    """The settings that a queue in PostgreSQL has besides its URL; a queue in a file has none of them."""
    readers = (values.schema, values.secret_source(root), values.database_url, values.lease)
    found: dict[str, Any] = {}
    for key, read in zip(_POSTGRES_KEYS, readers, strict=True):
        if (setting := collector.value((TABLE,), table, key, read)) is not None:
            found[key] = setting
    url = table.get("url")
    if (isinstance(url, str) and url.startswith(SQLITE)) or url is None:
        for key in _POSTGRES_KEYS:
            if key in table:
                hint = 'remove it, or write url = "postgresql://user@host/database"'
                collector.wrong((TABLE, key), f"`{key}`: is for a queue in PostgreSQL", hint, at_key=True)
    return found
