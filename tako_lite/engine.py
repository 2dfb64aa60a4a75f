"""What stands behind a `Step`: it stores outcomes, waits, and knows when the handler is to be left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeVar

from tako_lite.errors import Unwind
from tako_lite.secrets import masked

T = TypeVar("T")
MAX_NAME: Final = 256
"""Characters in the name of a step."""

WaitKind = Literal["sleep", "signal", "child", "retry"]
StepKind = Literal["run"] | WaitKind
StepState = Literal["succeeded", "failed"]


class Stored(Protocol):
    """What a step has stored: a state, the JSON text of its value or error, and how often it was tried."""

    @property
    def state(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def tries(self) -> int: ...


class Engine(Protocol):
    """What carries the steps of one attempt of a run: the worker's link to the daemon, or a test's harness."""

    run_id: str
    workflow_name: str
    attempt: int
    tenant: str | None
    tenant_env: Mapping[str, str]

    def begin(self, name: str, *, again: bool = False) -> Stored | None:
        """Enter a step. Raises StepError for a name used twice, and the Unwind that is under way."""

    def name_wait(self, event: str) -> str:
        """The step's name of the next wait for an event in this attempt."""

    def enter(self) -> None:
        """A step call that is not a wait is in flight."""

    def leave(self) -> None:
        """That step call is over."""

    async def save(
        self, name: str, kind: StepKind, state: StepState, value: str | None, error: str | None, tries: int, started_at: int
    ) -> Stored:
        """Store an outcome, and return what is stored from now on."""

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None:
        """Store a failed try without waiting for it."""

    async def wait(self, name: str, kind: WaitKind, key: str | None, wake_at: int | None) -> Stored:
        """Wait for a time, a signal or the next try; the run may park meanwhile."""

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> Stored:
        """Start a child and wait for its end."""

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> Stored:
        """Start another run, once."""

    async def send_signal(self, event: str, payload: str) -> None:
        """Send a signal."""

    def set_progress(self, fraction: float, note: str | None) -> None:
        """Say how far the run is."""

    def unwind(self, reason: Unwind) -> None:
        """The handler is to be left for this reason, whatever it catches."""


def sound(text: str) -> str:
    """Text that people may see: without the worker's secrets, and such that UTF-8 can carry it.

    Whatever a failure says passes here, before it is cut to a length.
    """
    return masked(text).encode("utf-8", "backslashreplace").decode()


def message_of(error: BaseException) -> str:
    """What an error says; a `__str__` of the user's may fail itself."""
    try:
        return sound(str(error))
    except BaseException:
        return "(its text cannot be read)"


def carried(body: Callable[[], T]) -> T:
    """Call a function in a thread; two exceptions that a future cannot carry to a coroutine come as RuntimeError."""
    try:
        return body()
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"{type(error).__name__} was raised: {error}") from error
