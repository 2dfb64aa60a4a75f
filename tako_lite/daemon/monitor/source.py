"""What metrics are read from, and the labels of runs, whose number is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from tako_lite.catalog import Catalog
from tako_lite.clock import Clock
from tako_lite.config import Config
from tako_lite.daemon.control import Control
from tako_lite.daemon.dispatcher import Dispatcher
from tako_lite.daemon.leftovers import FRESH, SHARE
from tako_lite.daemon.logs import Logs
from tako_lite.daemon.meter import Meter, WorkflowTotals
from tako_lite.daemon.readiness import Readiness
from tako_lite.daemon.scheduler import Scheduler
from tako_lite.store.base import GroupCounts, Store
from tako_lite.templates import is_template
from tako_lite.trigger_options import EVALUATION

MOST_WORKFLOWS: Final = 200
MOST_LABEL_SETS: Final = 1_000
"""The most pairs of a group and a workflow that have series of their own."""
OTHER: Final = "_other"
"""The label of all workflows, groups and tenants beyond that."""


class Source(Protocol):
    """The parts of the daemon that metrics are read from."""

    catalog: Catalog
    clock: Clock
    config: Config
    control: Control
    dispatcher: Dispatcher
    logs: Logs
    meter: Meter
    readiness: Readiness
    scheduler: Scheduler
    started: float
    store: Store


class QueueCounts(NamedTuple):
    """How many runs the queue has."""

    groups: Mapping[str, GroupCounts]
    held: Mapping[tuple[str, str], int]
    """By group and hold."""


class CachedCounts:
    """Counts the runs of the queue at most once in a while, however often and by how many it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._good_until = 0.0
        self._counts = QueueCounts({}, {})
        self._counting = asyncio.Lock()

    async def get(self) -> QueueCounts:
        """The counts, which may be some seconds old. Raises what reading the queue raises."""
        async with self._counting:
            began = time.monotonic()
            if began >= self._good_until:
                groups = await self._store.count_by_group(ended=False)
                held = await self._store.count_held([name for name, count in groups.items() if count.due])
                self._counts = QueueCounts(groups, held)
                ended = time.monotonic()
                self._good_until = ended + max(FRESH, SHARE * (ended - began))
            return self._counts


class LabelledTotals(NamedTuple):
    """The totals of one group and one label of workflows; those of many where the label is `_other`."""

    group: str
    workflow: str
    totals: list[WorkflowTotals]

    @property
    def labels(self) -> dict[str, str]:
        return {"group": self.group, "workflow": self.workflow}


def runs_by_label(source: Source) -> Iterable[LabelledTotals]:
    """The totals of all runs, evaluations of triggers not among them, within the bounds of labels.

    Workflows of the files come first, so that they keep their labels, and have series before their first run.
    """
    found: dict[tuple[str, str], list[WorkflowTotals]] = {}
    workflows: set[str] = set()
    for group, workflow in dict.fromkeys((*_defined(source.catalog), *_counted(source.meter))):
        known = workflow in workflows or len(workflows) < MOST_WORKFLOWS
        if known and len(found) < MOST_LABEL_SETS:
            workflows.add(workflow)
            label = (group, workflow)
        else:
            label = (group if (group, OTHER) in found or len(found) < 2 * MOST_LABEL_SETS else OTHER, OTHER)
        totals = source.meter.groups[group].workflows.get(workflow) if group in source.meter.groups else None
        found.setdefault(label, []).append(totals or NO_TOTALS)
    return [LabelledTotals(*label, totals) for label, totals in found.items()]


def evaluations(source: Source) -> Iterator[tuple[str, WorkflowTotals]]:
    """The totals of each trigger in each group."""
    for group in source.meter.groups.values():
        for workflow, totals in group.workflows.items():
            if workflow.startswith(EVALUATION):
                yield workflow.removeprefix(EVALUATION), totals


def bounded(names: Iterable[str]) -> dict[str, str]:
    """The label of each name: its own, or `_other` beyond the bound."""
    return {name: name if number < MOST_LABEL_SETS else OTHER for number, name in enumerate(dict.fromkeys(names))}


def _defined(catalog: Catalog) -> Iterator[tuple[str, str]]:
    for spec in catalog.workflows.values():
        if not is_template(spec.group):
            yield spec.group, spec.name


def _counted(meter: Meter) -> Iterator[tuple[str, str]]:
    for name, group in meter.groups.items():
        for workflow in group.workflows:
            if not workflow.startswith(EVALUATION):
                yield name, workflow


NO_TOTALS: Final = WorkflowTotals()
