"""The items in a worker's `out` frame: JSON lists that begin with their kind.

There are three sorts. *Ends* report the outcome of an attempt, once. *Requests* carry a sequence number, and the daemon
answers each with an `Answer` of that number, after the commit. *Reports* are stored, and get no answer.

A named tuple is written as the list of its fields, so the classes are the format. To add a field, append it to its class, and
give it a value where the class is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypedDict

from tako_lite.engine import StepKind, StepState, WaitKind
from tako_lite.errors import ProtocolError
from tako_lite.named_tuples import new_tuple


class FailureFacts(TypedDict, total=False):
    """A `Failure` as a worker describes it."""

    type: str
    message: str
    traceback: str
    reason: str
    fingerprint: str


# The end of an attempt


class RunSucceeded(NamedTuple):
    """The handler returned; `result` is JSON text."""

    kind: Literal["ok"]
    run_id: str
    token: int
    result: str


class EvaluationEnded(NamedTuple):
    """A trigger returned; `result` is the JSON text of its payloads and its cursor."""

    kind: Literal["found"]
    run_id: str
    token: int
    result: str


class RunFailed(NamedTuple):
    """The handler failed; another attempt is made only if that could help."""

    kind: Literal["fail"]
    run_id: str
    token: int
    failure: FailureFacts
    retryable: bool


class RunNotImported(NamedTuple):
    """The module of the run does not import."""

    kind: Literal["broken"]
    run_id: str
    token: int
    error: str


class RunBailed(NamedTuple):
    """The handler called `step.bail`."""

    kind: Literal["bail"]
    run_id: str
    token: int
    reason: str


class RunPostponed(NamedTuple):
    """The handler called `step.retry`: another attempt, uncharged, after this many seconds."""

    kind: Literal["later"]
    run_id: str
    token: int
    delay: float


class RunParked(NamedTuple):
    """All that the handler did was wait, for the steps with these names; the run leaves its slot."""

    kind: Literal["parked"]
    run_id: str
    token: int
    waits: Sequence[str]


class RunHeld(NamedTuple):
    """The code has changed, and the handler did not reach these stored steps again: a person decides how the run continues.

    `unknown` are the steps that it asked for and that are not stored.
    """

    kind: Literal["held"]
    run_id: str
    token: int
    steps: Sequence[str]
    unknown: Sequence[str]


class RunReleased(NamedTuple):
    """The worker is stopping; the run is unfinished and goes back to the queue, uncharged."""

    kind: Literal["given"]
    run_id: str
    token: int


class RunCancelled(NamedTuple):
    """The handler was left because the run is cancelled."""

    kind: Literal["cancelled"]
    run_id: str
    token: int


class RunDropped(NamedTuple):
    """The worker's claim was stale: another attempt owns the run, so nothing is stored."""

    kind: Literal["dropped"]
    run_id: str
    token: int


# Requests, which are answered


class SaveStep(NamedTuple):
    """Store the outcome of a step: `value` is JSON text, `error` the JSON text of a failure."""

    kind: Literal["step"]
    sequence: int
    run_id: str
    token: int
    name: str
    step_kind: StepKind
    state: StepState
    value: str | None
    error: str | None
    tries: int
    started_at: int


class AddWait(NamedTuple):
    """Wait for a time, a signal or the next try of a step."""

    kind: Literal["wait"]
    sequence: int
    run_id: str
    token: int
    name: str
    step_kind: WaitKind
    key: str | None
    wake_at: int | None


class InvokeChild(NamedTuple):
    """Start a child run and wait for its end."""

    kind: Literal["invoke"]
    sequence: int
    run_id: str
    token: int
    name: str
    workflow: str
    payload: str
    options: dict[str, Any]


class EnqueueChild(NamedTuple):
    """Start another run, once, and do not wait for it."""

    kind: Literal["enqueue"]
    sequence: int
    run_id: str
    token: int
    name: str
    workflow: str
    payload: str
    options: dict[str, Any]


class CallCommand(NamedTuple):
    """Carry out a command of the control socket that a handler asked for through the client."""

    kind: Literal["call"]
    sequence: int
    command: str
    arguments: dict[str, Any]


# Reports


class HandlerBegun(NamedTuple):
    """The handler of a run of a workflow with a rate has executed its first line."""

    kind: Literal["begun"]
    run_id: str
    token: int


class StepsNotReached(NamedTuple):
    """The attempt did not reach these stored steps again; its end follows. `unknown` is as in `RunHeld`."""

    kind: Literal["missed"]
    run_id: str
    token: int
    steps: Sequence[str]
    unknown: Sequence[str]


class Progress(NamedTuple):
    """How far a run is, for `runs` and the TUI."""

    kind: Literal["progress"]
    run_id: str
    token: int
    fraction: float
    note: str | None


End = (
    RunSucceeded
    | EvaluationEnded
    | RunFailed
    | RunNotImported
    | RunBailed
    | RunPostponed
    | RunParked
    | RunHeld
    | RunReleased
    | RunCancelled
    | RunDropped
)
Request = SaveStep | AddWait | InvokeChild | EnqueueChild | CallCommand
OtherItem = End | AddWait | InvokeChild | EnqueueChild | CallCommand | HandlerBegun | StepsNotReached | Progress
Item = SaveStep | OtherItem
ANSWERED_ALONE: Final = (AddWait, InvokeChild, EnqueueChild, CallCommand)
"""The requests that the daemon takes up one by one; those to save steps share one transaction."""

ITEMS: Final[Mapping[str, type[Item]]] = {
    "ok": RunSucceeded,
    "found": EvaluationEnded,
    "fail": RunFailed,
    "broken": RunNotImported,
    "bail": RunBailed,
    "later": RunPostponed,
    "parked": RunParked,
    "held": RunHeld,
    "given": RunReleased,
    "cancelled": RunCancelled,
    "dropped": RunDropped,
    "step": SaveStep,
    "wait": AddWait,
    "invoke": InvokeChild,
    "enqueue": EnqueueChild,
    "call": CallCommand,
    "begun": HandlerBegun,
    "missed": StepsNotReached,
    "progress": Progress,
}
"""Every item by its kind."""


class Items(NamedTuple):
    """The items of a frame: the steps to save, the runs that succeeded, and all others in their order."""

    steps: list[SaveStep]
    succeeded: list[RunSucceeded]
    others: list[OtherItem]


def read_items(raw: Sequence[Sequence[Any]]) -> Items:
    """The items that lists from the wire are.

    Raises ProtocolError for an unknown kind; a missing field raises IndexError when it is read.
    """
    items = Items([], [], [])
    for fields in raw:
        kind = fields[0]
        if kind == "step":
            items.steps.append(new_tuple(SaveStep, fields))
        elif kind == "ok":
            items.succeeded.append(new_tuple(RunSucceeded, fields))
        elif kind in ITEMS:
            items.others.append(new_tuple(ITEMS[kind], fields))
        else:
            raise ProtocolError(f"no item is called {kind!r}")
    return items
