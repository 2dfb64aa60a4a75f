"""A PostgreSQL server of the measurement's own, on this machine. Imported in the peers' environments: standard library only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import SAFE, Cluster, remove


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running server, with fsync; its folder goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tako-bench-postgres-"))
    folder.chmod(0o755)
    made = Cluster(folder / "server", {**SAFE, "shared_buffers": "256MB"})
    try:
        made.create()
        made.start()
        yield made
    finally:
        remove(folder)
