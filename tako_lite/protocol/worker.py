"""The link between the daemon and a worker: every frame, in both directions, and what the frames carry.

Each side sends *frames*: JSON objects, one a line, with the kind of the frame under `t`. A worker's `out` frame carries items,
which `items.py` has. What a frame carries as a list is a named tuple here, written as the list of its fields. It arrives as a
plain list again, and `read_run` or `read_items` gives the fields their names. Besides the link, the two processes share
the guard: a socket on which a busy worker sends its heartbeat, and which closes when the daemon is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypedDict

from tako_lite.named_tuples import new_tuple
from tako_lite.options import OnChangedSteps
from tako_lite.protocol.items import Item

NO_ENV: Final[Mapping[str, str]] = {}


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


class RunFacts(NamedTuple):
    """What only hooks ask about a run. `trace` is a W3C traceparent."""

    max_attempts: int
    parent: str | None
    trace: str | None


class RunExtra(NamedTuple):
    """What a worker needs for the run of a tenant or of a workflow with a rate, for its hooks, or for other code than before.

    `is_rated` asks the worker to report when the handler begins. `changed` is what the workflow wants if the run does not reach
    a stored step; None for the code that it began with.
    """

    tenant: str | None = None
    tenant_env: Mapping[str, str] = NO_ENV
    is_rated: bool = False
    facts: RunFacts | None = None
    changed: OnChangedSteps | None = None


NO_EXTRA: Final = RunExtra()


class PushedRun(NamedTuple):
    """A run for a worker. `timeout` is what is left of it in seconds; `payload` is JSON text. Most runs have no `extra`."""

    run_id: str
    workflow: str
    module: str
    token: int
    attempt: int
    timeout: float | None
    payload: str
    steps: Sequence[PriorStep]
    extra: RunExtra | None = None


def read_run(row: Sequence[Any]) -> PushedRun:
    """The run that a list from the wire is."""
    run: PushedRun = new_tuple(PushedRun, row)
    return run if run.extra is None else run._replace(extra=RunExtra(*run.extra))


class InFlight(NamedTuple):
    """A step that a worker executes now; `started_at` is in milliseconds since 1970.

    The guard thread answers `ASK_IN_FLIGHT` with a JSON list of these and a newline, even while a handler blocks the loop.
    """

    run_id: str
    step: str
    started_at: int


ASK_IN_FLIGHT: Final = b"?"
LIVE_UNTIL: Final = b"u%.3f\n"
"""Has the guard thread end the worker at a moment, in seconds of `linux.boottime`, unless it hears of a later one before."""
"""What the daemon sends over the guard to learn which steps a worker executes."""
MOST_IN_FLIGHT: Final = 200


class Refused(TypedDict):
    """The answer to a request that failed."""

    error: dict[str, Any]


class Answer(NamedTuple):
    """The answer to a request. None says that the run's claim is stale, `waiting` that a wait is not over yet."""

    sequence: int
    outcome: StoredStep | Literal["waiting"] | dict[str, Any] | Refused | None


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


class HooksFrame(TypedDict):
    """The worker has hooks: runs that it gets from now on come with their facts."""

    t: Literal["hooks"]


FromWorker = OutFrame | ReadyFrame | FilesFrame | BrokenFrame | HooksFrame


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
