"""What every check of `doctor` may look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tako_lite.catalog import Catalog
from tako_lite.client.project import Project
from tako_lite.clock import Clock
from tako_lite.finding import Finding
from tako_lite.project_lint import undefined
from tako_lite.store.opening import Queue, QueueCheck


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The project to check; `deep` also runs the checks that read the whole queue.

    `catalog` is None if the workflow files have mistakes.
    """

    project: Project
    queue: Queue
    has_daemon: bool
    deep: bool
    clock: Clock
    catalog: Catalog | None = None

    @property
    def state_dir(self) -> Path:
        """The project's state folder."""
        return self.project.state_dir

    @property
    def queue_check(self) -> QueueCheck:
        """What the checks of the queue's backend need to know."""
        return QueueCheck(self.has_daemon, self.deep, self.clock, self._undefined)

    def _undefined(self, queued: Mapping[str, int]) -> Iterator[Finding]:
        """Runs that wait for a workflow that no file defines."""
        if self.catalog is not None:
            for found in undefined(self.catalog, queued):
                yield Finding("queue", "warning", found.message, found.remedy)
