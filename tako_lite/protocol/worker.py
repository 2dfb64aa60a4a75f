"""The link between the daemon and a worker: every frame and every item, in the order of the wire.

Each side sends *frames*: JSON objects, one a line, with the kind of the frame under `t`. A worker's `out` frame carries
*items*: JSON lists that begin with the kind of the item. A named tuple is written as the list of its fields, so the classes
below are the format. What arrives is a plain list again: `read_items` and `PushedRun(*row)` give the fields their names.

There are three sorts of items. *Ends* report the outcome of an attempt, once. *Requests* carry a sequence number, and the
daemon answers each with an `Answer` of that number, after the commit. *Reports* are stored, and get no answer. An `ok`, a
`step` or a pushed run is read or written once for each run, so nothing here does more than build a tuple.

To add a field, append it to its class with a default, and give it a value where the class is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypedDict

from tako_lite.engine import StepKind, StepState, WaitKind
from tako_lite.errors import ProtocolError

NO_ENV: Final[Mapping[str, str]] = {}


# Parts


class StoredStep(NamedTuple):
    """What a step has stored: its value's JSON text, or for a failed one its error's."""

    state: str
    text: str | None
    tries: int


class PriorStep(NamedTuple):
    """A step that an earlier attempt, or this one before it parked, has stored."""

    name: str
    state: str
    text: str | None
    tries: int

    @property
    def stored(self) -> StoredStep:
        return StoredStep(self.state, self.text, self.tries)


class PushedRun(NamedTuple):
    """A run for a worker. `timeout` is what is left of it in seconds; `payload` is JSON text.

    The last three fields are for the run of a tenant, or of a workflow with a rate, and are left off for any other: see `row`.
    `is_rated` asks the worker to report when the handler begins.
    """

    run_id: str
    workflow: str
    module: str
    token: int
    attempt: int
    timeout: float | None
    payload: str
    steps: Sequence[PriorStep]
    tenant: str | None = None
    tenant_env: Mapping[str, str] = NO_ENV
    is_rated: bool = False

    @property
    def row(self) -> tuple[Any, ...]:
        """The list on the wire."""
        return self if self.tenant is not None or self.is_rated else self[:8]


class FailureFacts(TypedDict, total=False):
    """A `Failure` as a worker describes it."""

    type: str
    message: str
    traceback: str
    reason: str


class Refused(TypedDict):
    """The answer to a request that failed."""

    error: dict[str, Any]


class Answer(NamedTuple):
    """The answer to a request. None says that the run's claim is stale, `waiting` that a wait is not over yet."""

    sequence: int
    outcome: StoredStep | Literal["waiting"] | dict[str, Any] | Refused | None


# Items: the end of an attempt


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


# Items: requests, which are answered


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


# Items: reports


class HandlerBegun(NamedTuple):
    """The handler of a run of a workflow with a rate was called."""

    kind: Literal["begun"]
    run_id: str
    token: int


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
    | RunReleased
    | RunCancelled
    | RunDropped
)
Request = SaveStep | AddWait | InvokeChild | EnqueueChild | CallCommand
OtherItem = End | AddWait | InvokeChild | EnqueueChild | CallCommand | HandlerBegun | Progress
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
    "given": RunReleased,
    "cancelled": RunCancelled,
    "dropped": RunDropped,
    "step": SaveStep,
    "wait": AddWait,
    "invoke": InvokeChild,
    "enqueue": EnqueueChild,
    "call": CallCommand,
    "begun": HandlerBegun,
    "progress": Progress,
}
"""Every item by its kind."""


_new: Final[Any] = tuple.__new__
"""What a named tuple calls to make itself: less than half as long, without a count of the fields."""


def read_items(raw: Sequence[Sequence[Any]]) -> tuple[list[SaveStep], list[OtherItem]]:
    """The items that lists from the wire are: the steps to save, and all others in their order.

    Raises ProtocolError for an unknown kind; a missing field raises IndexError when it is read.
    """
    steps: list[SaveStep] = []
    others: list[OtherItem] = []
    for fields in raw:
        kind = fields[0]
        if kind == "step":
            steps.append(_new(SaveStep, fields))
        elif kind in ITEMS:
            others.append(_new(ITEMS[kind], fields))
        else:
            raise ProtocolError(f"no item is called {kind!r}")
    return steps, others


# Frames from a worker


class OutFrame(TypedDict):
    """What the worker's runs did in one turn of its loop."""

    t: Literal["out"]
    items: Sequence[Item]


class ReadyFrame(TypedDict):
    """The worker has imported its modules and takes runs; `files` are those of the project, with their stamps."""

    t: Literal["ready"]
    pid: int
    workflows: list[str]
    files: Mapping[str, Sequence[int]]


class FilesFrame(TypedDict):
    """Files of the project that a handler has imported since."""

    t: Literal["files"]
    files: Mapping[str, Sequence[int]]


class BrokenFrame(TypedDict):
    """A module of the group does not import; the worker ends."""

    t: Literal["broken"]
    error: str


FromWorker = OutFrame | ReadyFrame | FilesFrame | BrokenFrame


# Frames to a worker


class RunFrame(TypedDict):
    """Runs to start; each is the `row` of a `PushedRun`."""

    t: Literal["run"]
    runs: Sequence[Sequence[Any]]


class StepsFrame(TypedDict):
    """Stored steps of a run that is about to come: too much for the run's own frame."""

    t: Literal["steps"]
    id: str
    steps: Sequence[PriorStep]


class AnswersFrame(TypedDict):
    """Answers to requests."""

    t: Literal["answers"]
    answers: Sequence[Answer]


class ResolvedFrame(TypedDict):
    """A wait of a run is over; `state` and `text` are what its step has stored."""

    t: Literal["resolved"]
    id: str
    name: str
    state: str
    text: str | None


class CancelFrame(TypedDict):
    """Leave the handler of a run: the run is cancelled."""

    t: Literal["cancel"]
    id: str


class StopFrame(TypedDict):
    """Take no more runs, leave each handler at its next step, and end."""

    t: Literal["stop"]


ToWorker = RunFrame | StepsFrame | AnswersFrame | ResolvedFrame | CancelFrame | StopFrame
