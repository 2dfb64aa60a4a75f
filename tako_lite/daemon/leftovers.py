"""Differences between the files and a running daemon: queued runs without a workflow, and files that it has not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tako_lite.catalog import Catalog, stamps, survey
from tako_lite.config import Config
from tako_lite.project_lint import pythons, undefined
from tako_lite.stamps import FileStamp
from tako_lite.store.base import Store

FRESH: Final = 5.0
"""Seconds for which an answer about the queue is cached, at least."""
SHARE: Final = 50
"""It is cached for this many times as long as the query took, so that a long queue is not read all the time."""
MOST_READ: Final = 100_000
"""How many queued runs are read for their workflow: a long queue must not make `status` slow."""


class UndefinedRuns:
    """Finds queued runs whose workflow no file defines, on request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._catalog: Catalog | None = None
        self._sentences: list[str] = []
        self._good_until = 0.0

    async def sentences(self, catalog: Catalog) -> list[str]:
        """A sentence for each such workflow. Raises what reading the queue raises."""
        began = time.monotonic()
        if catalog is not self._catalog or began >= self._good_until:
            queued = await self._store.count_queued_by_workflow(MOST_READ)
            ended = time.monotonic()
            self._catalog, self._sentences = catalog, [*map(str, undefined(catalog, queued))]
            self._good_until = ended + max(FRESH, SHARE * (ended - began))
        return self._sentences


class UnreadFiles:
    """Finds names in workflow files that are newer than the daemon's catalog; files that do not change are read once."""

    def __init__(self) -> None:
        self._stamps: Mapping[Path, FileStamp] = {}
        self._found = Catalog(Path(), {})
        self._reading = asyncio.Lock()

    async def hint(self, name: str, config: Config, known: Catalog) -> str | None:
        """Where a name is defined that the daemon does not know, and what to type; None if nowhere."""
        async with self._reading:
            seen = await asyncio.to_thread(stamps, config.workflows_path)
            if seen == known.files:
                return None
            if seen != self._stamps:
                self._found, _ = await asyncio.to_thread(
                    survey, config.workflows_path, config.root, config.routes, pythons(config)
                )
                self._stamps = seen
        trigger = self._found.triggers.get(name)
        spec = trigger.evaluation if trigger else self._found.workflows.get(name)
        if spec is None:
            return None
        file = spec.file.relative_to(config.root) if spec.file.is_relative_to(config.root) else spec.file
        return f"{file}:{spec.line} defines it, but the daemon has not read that file yet: tako-lite reload"
