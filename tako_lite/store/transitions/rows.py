"""The rows that statements return, and those that they take many of: one NamedTuple for each shape."""

from __future__ import annotations

from typing import NamedTuple

from tako_lite.states import AttemptKind, RunState

# Runs


class InsertedRun(NamedTuple):
    """A new run as `runs.insert` takes it; it is due if its time is not later than `due_by`."""

    id: str
    workflow: str
    group: str
    group_source: str
    payload: str
    run_at: int
    priority: int
    max_attempts: int
    unique_key: str | None
    parent: str | None
    tenant: str | None
    fallback: str | None
    fallback_source: str | None
    limit_key: str | None
    rate_key: str | None
    again_of: str | None
    trace: str | None
    now: int
    due_by: int


class CompletedRun(NamedTuple):
    """A run that succeeded, as `runs.complete` takes it."""

    id: str
    token: int
    result: str
    pid: int
    now: int


class RunId(NamedTuple):
    """The run that a row belongs to."""

    run_id: str


class DeletedRun(NamedTuple):
    """A run that was deleted."""

    id: str


class RequeuedRun(NamedTuple):
    """A run that was re-queued, and the claim that it had."""

    id: str
    token: int
    group: str
    hold: str | None


class FoundRun(NamedTuple):
    """Where a run is."""

    id: str
    state: RunState
    group: str
    hold: str | None


class DeadRun(NamedTuple):
    """A run that has died; `error` is JSON text."""

    workflow: str
    group: str
    tenant: str | None
    attempts: int
    finished_at: int
    error: str | None


class WorkflowCode(NamedTuple):
    """The hash of the code of a workflow, as `code.put` takes it."""

    server: str
    workflow: str
    hash: str


class Claim(NamedTuple):
    """A run and the token under which it was claimed."""

    id: str
    token: int


class Orphan(NamedTuple):
    """A claimed run whose server is gone, and how many servers have been lost while they had it."""

    id: str
    token: int
    lost: int
    server: str


class DueRun(NamedTuple):
    """A run that has just become due."""

    group: str
    due_order: int
    id: str
    workflow: str
    limit_key: str | None
    token: int


class RetriedRun(NamedTuple):
    """A run that starts over."""

    group: str
    workflow: str
    limit_key: str | None
    token: int


class FallenRun(NamedTuple):
    """A run that a fallback or its wait_timeout ended."""

    id: str
    state: RunState


class MovedRun(NamedTuple):
    """A run that went to another group."""

    hold: str | None
    id: str


class Outcome(NamedTuple):
    """How a run ended."""

    state: RunState
    result: str | None
    error: str | None


class StoredRun(NamedTuple):
    """A run as people see it; `payload`, `result`, `error` and `not_reached` are JSON text."""

    id: str
    workflow: str
    group: str
    group_source: str
    state: RunState
    attempts: int
    max_attempts: int
    crashes: int
    priority: int
    payload: str | None
    result: str | None
    error: str | None
    unique_key: str | None
    parent: str | None
    tenant: str | None
    created_at: int
    run_at: int
    started_at: int | None
    finished_at: int | None
    server: str | None
    worker_pid: int | None
    claim_token: int
    hold: str | None
    cancel_requested: int
    progress: float | None
    progress_note: str | None
    fallback: str | None
    fallback_source: str | None
    limit_key: str | None
    rate_key: str | None
    discarded_at: int | None
    claimed_at: int | None
    fingerprint: str | None
    again_of: str | None
    trace: str | None
    code: str | None
    not_reached: str | None


class LargeValue(NamedTuple):
    """A value that is too long for its row, as `runs.add_large` takes it."""

    run_id: str
    kind: str
    value: str


# Counts


class HeldCount(NamedTuple):
    """How many due runs of a group have a hold."""

    group: str
    hold: str
    number: int


class GroupCount(NamedTuple):
    """How many runs of one kind a group has."""

    group: str
    number: int


class DueCount(NamedTuple):
    """How many due runs a group has, and since when the oldest is due."""

    group: str
    number: int
    oldest: int


class FinishedCount(NamedTuple):
    """How many runs of a group ended in a state."""

    state: RunState
    group: str
    number: int


class WorkflowCount(NamedTuple):
    """How many runs a workflow has."""

    workflow: str
    number: int


class PrunedCount(NamedTuple):
    """How many runs of a state were pruned."""

    state: RunState
    pruned: int


# Groups, schedules, triggers


class StoredOverride(NamedTuple):
    """What people set for a group."""

    name: str
    paused: int
    scale: int | None


class TriggerRow(NamedTuple):
    """A trigger; `error` is JSON text, `evaluation` the state of the run that evaluates it."""

    name: str
    group: str
    starts: str
    every_ms: int
    cursor: str
    next_at: int
    evaluated_at: int | None
    started: int
    error: str | None
    paused: int
    evaluation: str | None


class DueTrigger(NamedTuple):
    """When a trigger is due."""

    name: str
    next_at: int


class Evaluation(NamedTuple):
    """The run that evaluates a trigger."""

    id: str
    state: RunState
    trigger: str


# Steps and waits


class ClaimedStep(NamedTuple):
    """A stored step of a claimed run; `text` is its value, or the error of a failed one."""

    name: str
    state: str
    text: str | None
    tries: int


class ShownStep(NamedTuple):
    """A stored step as people see it; `result` and `error` are JSON text."""

    name: str
    kind: str
    state: str
    result: str | None
    attempts: int
    started_at: int
    finished_at: int
    error: str | None


class StoredWait(NamedTuple):
    """A wait of a run."""

    run_id: str
    name: str
    kind: str
    key: str | None
    wake_at: int | None
    started_at: int


# History


class SucceededAgain(NamedTuple):
    """A run that succeeded, as `attempts.record_success` takes it."""

    id: str
    token: int
    pid: int
    now: int


class StepTry(NamedTuple):
    """A try of a step, as `attempts.record_try` takes it."""

    run_id: str
    token: int
    step: str
    number: int
    kind: str
    started_at: int
    ended_at: int
    pid: int | None
    error: str | None


class StoredAttempt(NamedTuple):
    """A row of the history; `error` is JSON text."""

    step: str
    number: int
    kind: AttemptKind
    started_at: int
    ended_at: int
    executed_ms: int
    server: str | None
    worker_pid: int | None
    error: str | None


class StoredMinute(NamedTuple):
    """A minute of a group and a workflow; `buckets` is JSON text."""

    minute: int
    group: str
    workflow: str
    started: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    waited_ms: int
    executed_ms: int
    buckets: str


class SlotTotals(NamedTuple):
    """The totals of a slot of minutes; `buckets` is JSON text, a list with the buckets of each of its rows."""

    slot: int
    started: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    executed_ms: int
    buckets: str


class WorkflowTotals(NamedTuple):
    """What the runs of a workflow did in some time."""

    workflow: str
    started: int
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    executed_ms: int


class StoredActivity(NamedTuple):
    """An entry of the activity; `detail` is JSON text."""

    id: str
    at: int
    actor: str
    source: str
    action: str
    target: str
    detail: str


# Errors


class ErrorCount(NamedTuple):
    """How often an error occurred; `workflows` are separated by commas."""

    fingerprint: str
    number: int
    hour: int
    day: int
    week: int
    first_at: int
    last_at: int
    workflows: str


class ErrorExample(NamedTuple):
    """A run that had an error, and the error as JSON text."""

    id: str
    error: str | None


class HourCount(NamedTuple):
    """How often something occurred in an hour, counted from the first one."""

    hour: int
    number: int


class NameCount(NamedTuple):
    """How often something occurred."""

    name: str | None
    number: int


# Limits


class RunKeys(NamedTuple):
    """What a run counts for: its workflow, and the keys of the limit and of the rate."""

    workflow: str
    limit_key: str | None
    rate_key: str | None


class KeyedRun(NamedTuple):
    """A run and what it counts for."""

    id: str
    workflow: str
    limit_key: str | None
    rate_key: str | None


class RunningRun(NamedTuple):
    """A running run, with all that its keys are made of."""

    id: str
    workflow: str
    limit_key: str | None
    rate_key: str | None
    tenant: str | None
    payload: str


class KeySources(NamedTuple):
    """What the keys of a run are made of, and its rate key."""

    payload: str
    tenant: str | None
    rate_key: str | None


class WorkflowKey(NamedTuple):
    """A workflow and one key of its limit or rate."""

    workflow: str
    key: str


class ExpectedStart(NamedTuple):
    """A run whose worker has not reported yet that its handler was called, as `limits.expect_start` takes it."""

    workflow: str
    key: str
    id: str


class UnclaimedRun(NamedTuple):
    """A claimed run that goes back at once with a hold, as `limits.unclaim` takes it."""

    id: str
    held: str | None
