"""The interface behind a `Step`: stores outcomes, waits, and ends the handler when it has to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeVar

from tako_lite.errors import Unwind
from tako_lite.hooks import RunInfo
from tako_lite.secrets import masked

T = TypeVar("T")
MAX_NAME: Final = 256
"""Maximum number of characters in the name of a step."""

WaitKind = Literal["sleep", "signal", "child", "retry"]
StepKind = Literal["run"] | WaitKind
StepState = Literal["succeeded", "failed"]


class Stored(Protocol):
    """The stored outcome of a step: a state, the JSON text of its value or error, and the number of tries."""

    @property
    def state(self) -> str: ...
    @property
    def text(self) -> str | None: ...
    @property
    def tries(self) -> int: ...


class Engine(Protocol):
    """Executes the steps of one attempt of a run: over the worker's link to the daemon, or in a test harness."""

    run_id: str
    workflow_name: str
    attempt: int
    tenant: str | None
    tenant_env: Mapping[str, str]
    info: RunInfo | None
    """The run for hooks; None where no hook is registered."""
    inline_sleep: float
    """Maximum number of seconds of a sleep that keeps its slot."""

    def now(self) -> int:
        """The time of steps and waits, in milliseconds since 1970."""

    def begin(self, name: str, *, again: bool = False) -> Stored | None:
        """Enter a step; returns its stored outcome, if any. Raises StepError for a name used twice, and a pending Unwind."""

    def name_wait(self, event: str) -> str:
        """The step name for the next wait for an event in this attempt."""

    def enter(self) -> None:
        """Note that a step call other than a wait is in flight."""

    def leave(self) -> None:
        """Note the end of that step call."""

    async def save(
        self, name: str, kind: StepKind, state: StepState, value: str | None, error: str | None, tries: int, started_at: int
    ) -> Stored:
        """Store an outcome; returns the outcome that the queue holds."""

    def note_failure(self, name: str, error: str, tries: int, started_at: int) -> None:
        """Store a failed try without waiting for it."""

    async def wait(self, name: str, kind: WaitKind, key: str | None, wake_at: int | None) -> Stored:
        """Wait for a time, a signal or the next try. The run may park during the wait."""

    async def invoke(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> Stored:
        """Start a child run and wait until it ends."""

    async def enqueue(self, name: str, workflow: str, payload: str, options: dict[str, Any]) -> Stored:
        """Start another run, exactly once."""

    async def send_signal(self, event: str, payload: str) -> None:
        """Send a signal."""

    def set_progress(self, fraction: float, note: str | None) -> None:
        """Report the progress of the run."""

    def unwind(self, reason: Unwind) -> None:
        """Make the handler end for this reason, even if it catches the exception."""


def sanitized(text: str) -> str:
    """Text that may be shown: secrets of the worker are masked, and lone surrogates are escaped.

    Every text of a failure passes through here, before it is cut to a maximum length.
    """
    return masked(text).encode("utf-8", "backslashreplace").decode()


withheld: Mapping[str, str] | None = None
"""In a worker: the names of the daemon's variables that it was not given, each with the name of its secret or an empty text."""


def message_of(error: BaseException) -> str:
    """The message of an error. A `__str__` of the user may fail itself."""
    try:
        return sanitized(f"{error}{_environment_hint(error)}")
    except BaseException:
        return "(its text cannot be read)"


def _environment_hint(error: BaseException) -> str:
    """What to set, if the error is that of `os.environ[NAME]`: workers receive few variables of the daemon."""
    trace = error.__traceback__ if isinstance(error, KeyError) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code is not type(os.environ).__getitem__.__code__:
        return ""
    name = error.args[0] if error.args else None
    if withheld is None or not isinstance(name, str):
        return " (workers do not have this variable: name it in `env_pass` of the group, or set it in `env`)"
    if secret := withheld.get(name):
        return f' (it is the source of the secret `{secret}`: read it with secret("{secret}"), in a group that names it)'
    if name in withheld:
        return f' (the daemon has this variable, but this group does not pass it on: add env_pass = ["{name}"] in tako.toml)'
    return " (the daemon does not have this variable either: set it in `env` or `env_file`, or start the daemon with it)"


def call_for_future(body: Callable[[], T]) -> T:
    """Call a function whose outcome a future carries. Two exceptions that no future can carry become RuntimeError."""
    try:
        return body()
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"{type(error).__name__} was raised: {error}") from error
