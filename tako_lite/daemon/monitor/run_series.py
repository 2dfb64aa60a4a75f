"""The series about runs: enqueued, attempted, ended, waiting, and how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import starmap
from typing import Final

from tako_lite.daemon.meter import WorkflowTotals
from tako_lite.daemon.monitor.catalogue import family
from tako_lite.daemon.monitor.exposition import Family, Sample, histogram_samples
from tako_lite.daemon.monitor.source import LabelledTotals, QueueCounts, Source, bounded, runs_by_label
from tako_lite.histogram import EXECUTION_BOUNDS, QUEUE_BOUNDS, Histogram
from tako_lite.store.base import NO_COUNTS

SHOWN_OUTCOMES: Final = ("succeeded", "failed", "timeout", "crashed")
"""Outcomes of attempts that each workflow has a series of before the first of them: `increase` needs a zero to begin with."""
STATES: Final = ("succeeded", "cancelled", "dead")


def run_families(source: Source) -> list[Family]:
    """The counters and the histograms of runs."""
    labelled = list(runs_by_label(source))
    return [
        family("tako_runs_enqueued_total", _each(labelled, _enqueued)),
        family(
            "tako_runs_deduplicated_total",
            _deduplicated(source),
        ),
        family("tako_attempts_total", _each(labelled, _attempts)),
        family("tako_runs_finished_total", _each(labelled, _finished)),
        family(
            "tako_run_failures_total",
            _each(labelled, _failures),
        ),
        family(
            "tako_run_queue_seconds",
            [sample for group, waited in _queue(labelled).items() for sample in histogram_samples({"group": group}, waited)],
        ),
        family(
            "tako_run_execution_seconds",
            [sample for each in labelled for sample in _execution(each)],
        ),
        family("tako_steps_total", _steps(source)),
        family("tako_tenant_attempts_total", _tenants(source)),
    ]


def queue_families(source: Source, counts: QueueCounts) -> list[Family]:
    """The gauges of runs in the queue."""
    now = source.clock.now()
    groups = bounded((*source.dispatcher.groups, *counts.groups))
    runs: Counter[tuple[str, str]] = Counter()
    oldest: dict[str, float] = {}
    for name, label in groups.items():
        count = counts.groups.get(name, NO_COUNTS)
        states = {"due": count.due, "scheduled": count.pending - count.due, "running": count.running}
        for state, number in {**states, "waiting": count.waiting, "dead": count.dead}.items():
            runs[label, state] += number
        waited = 0.0 if count.oldest_due is None else max(now - count.oldest_due, 0) / 1000
        oldest[label] = max(oldest.get(label, 0.0), waited)
    held: Counter[tuple[str, str]] = Counter()
    for (group, hold), number in counts.held.items():
        held[groups.get(group, group), hold] += number
    return [
        family(
            "tako_runs",
            [Sample({"group": group, "state": state}, number) for (group, state), number in runs.items()],
        ),
        family(
            "tako_runs_held",
            [Sample({"group": group, "hold": hold}, number) for (group, hold), number in held.items()],
        ),
        family(
            "tako_oldest_due_seconds",
            [Sample({"group": group}, seconds) for group, seconds in oldest.items()],
        ),
    ]


def _each(
    labelled: Iterable[LabelledTotals], count: Callable[[WorkflowTotals], Counter[tuple[tuple[str, str], ...]]]
) -> list[Sample]:
    """A sample for each label set and each key that `count` finds in its totals."""
    samples = []
    for each in labelled:
        numbers: Counter[tuple[tuple[str, str], ...]] = Counter()
        for totals in each.totals:
            numbers.update(count(totals))
        samples += [Sample({**each.labels, **dict(key)}, number) for key, number in numbers.items()]
    return samples


def _enqueued(totals: WorkflowTotals) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter({(("source", source),): number for source, number in totals.enqueued.items()})


def _attempts(totals: WorkflowTotals) -> Counter[tuple[tuple[str, str], ...]]:
    numbers: dict[str, int] = dict.fromkeys(SHOWN_OUTCOMES, 0)
    numbers["succeeded"] = totals.succeeded
    for outcome, number in totals.attempts.items():
        numbers[outcome] = numbers.get(outcome, 0) + number
    return Counter({(("outcome", outcome),): number for outcome, number in numbers.items()})


def _finished(totals: WorkflowTotals) -> Counter[tuple[tuple[str, str], ...]]:
    numbers = {"succeeded": totals.succeeded, "cancelled": totals.ended_as("cancelled"), "dead": totals.ended_as("dead")}
    return Counter({(("state", state),): number for state, number in numbers.items()})


def _failures(totals: WorkflowTotals) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter({(("state", state), ("reason", reason)): number for (state, reason), number in totals.finished.items()})


def _deduplicated(source: Source) -> list[Sample]:
    labels = bounded(source.meter.deduplicated)
    numbers: Counter[str] = Counter()
    for workflow, number in source.meter.deduplicated.items():
        numbers[labels[workflow]] += number
    return [Sample({"workflow": workflow}, number) for workflow, number in numbers.items()]


def _queue(labelled: Iterable[LabelledTotals]) -> dict[str, Histogram]:
    groups: dict[str, Histogram] = {}
    for each in labelled:
        histogram = groups.setdefault(each.group, Histogram(QUEUE_BOUNDS))
        for totals in each.totals:
            histogram.add(totals.waited, totals.waited_ms)
    return groups


def _execution(each: LabelledTotals) -> list[Sample]:
    histogram = Histogram(EXECUTION_BOUNDS)
    for totals in each.totals:
        histogram.add(totals.executed, totals.executed_ms)
    return histogram_samples(each.labels, histogram)


def _steps(source: Source) -> list[Sample]:
    groups = bounded(source.meter.groups)
    numbers: Counter[tuple[str, str, str]] = Counter()
    for name, group in source.meter.groups.items():
        for (kind, outcome), number in group.steps.items():
            numbers[groups[name], kind, outcome] += number
    return list(starmap(_step, numbers.items()))


def _step(key: tuple[str, str, str], number: int) -> Sample:
    return Sample(dict(zip(("group", "kind", "outcome"), key, strict=True)), number)


def _tenants(source: Source) -> list[Sample]:
    counted: Mapping[tuple[str, str], int] = source.meter.tenants or {}
    labels = bounded(tenant for tenant, _ in counted)
    numbers: Counter[tuple[str, str]] = Counter()
    for (tenant, outcome), number in counted.items():
        numbers[labels[tenant], outcome] += number
    return [Sample({"tenant": tenant, "outcome": outcome}, number) for (tenant, outcome), number in numbers.items()]
