"""Every exception of tako-lite.

```
TakoError                     everything below, with `type`, `message`, `hint` and `exit_code`
├── BadInput                  what was asked cannot be asked                               exit 2
│   ├── NotJson               a value that JSON cannot carry
│   └── TooLarge              a value or a frame over its limit
├── ConfigError               tako.toml is wrong; all mistakes at once                     exit 3
├── CatalogError              the workflow files are wrong; all mistakes at once           exit 3
├── NoProject                 the folder has neither tako.toml nor workflow files          exit 3
├── WrongProject              the daemon serves another project or queue                   exit 3
├── DaemonUnreachable         nobody answers on the socket                                 exit 4
├── NotFound                  no such run, workflow, group or schedule                     exit 5
├── AlreadyServing            another daemon holds the lock                                exit 6
├── GroupFailed               a group cannot start, so a run that is waited for does not   exit 1
├── RunEnded                  the run that was enqueued ended at once                      exit 1
├── WaitTimeout               the run did not end in time                                  exit 124
├── Interrupted               a person pressed Ctrl-C                                      exit 130
├── StoreError                the queue file could not do it                               exit 1
│   ├── StorageFull           the disk, or the file's limit, is full
│   ├── StoreBusy             somebody else holds the file
│   ├── StoreDamaged          the file is not a sound database
│   ├── StoreGone             the file was moved, deleted or replaced under the daemon
│   ├── StoreTooNew           the file was written by a newer release
│   └── StoreTooOld           the file was written by an older release, and only reading was asked for
├── ProtocolError             the other side of a socket broke the rules                   exit 1
├── StepError                 a step was used in a way it cannot be
├── SecretError               a secret cannot be read, or was not given to whoever asks for it
└── ChildFailed               a run started with `step.invoke` did not succeed

Unwind (BaseException)        leaves a handler on purpose; never caught by `except Exception`
├── Parked                    every step call in flight is a wait
├── Drained                   the worker is stopping: stop at this step, go on later
├── Superseded                the run belongs to somebody else by now: drop it
├── TimedOut                  the attempt took longer than the workflow's `timeout`
├── Cancelled                 somebody cancelled the run
├── Bailed                    `step.bail`: the run ends `cancelled`
├── Failed                    `step.fail`: the run ends `dead`
└── RetryLater                `step.retry`: again later, no attempt charged
```

`type` is the word that the wire and `--json` carry; `hint` says what to type next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self


class TakoError(Exception):
    """An error with something to say to a person: what happened, and what to do next."""

    type: str = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, type: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if type is not None:
            self.type = type

    def as_json(self) -> dict[str, str | None]:
        """The shape that the wire and `--json` carry."""
        return {"type": self.type, "message": self.message, "hint": self.hint}


class BadInput(TakoError):
    """What was asked cannot be asked: a bad name, payload, option or time."""

    type = "bad_input"
    exit_code = 2


class NotJson(BadInput):
    """A value that JSON cannot carry: bytes, NaN, a cycle, a lone surrogate."""

    type = "not_json"


class TooLarge(BadInput):
    """A payload, result, step value or frame over its limit."""

    type = "too_large"


class Mistake(NamedTuple):
    """One thing that is wrong in a file that the user wrote. Lines and columns count from 1; 0 is the file as a whole."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""
    hint: str | None = None

    @property
    def place(self) -> str:
        """The file, and where in it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * (self.column - 1)}^"
        if self.hint:
            text += f"\n    {self.hint}"
        return text


class _FileErrors(TakoError):
    """Several mistakes in files of the user's, reported all at once."""

    exit_code = 3
    noun: ClassVar[str]

    def __init__(self, mistakes: Sequence[Mistake], *, hint: str | None = None) -> None:
        self.mistakes = tuple(mistakes)
        count = f"{len(self.mistakes)} mistake{'s' if len(self.mistakes) != 1 else ''}"
        body = "\n".join(str(mistake) for mistake in self.mistakes)
        about_contents = any(mistake.line for mistake in self.mistakes)
        super().__init__(f"{count} in {self.noun}\n{body}" if about_contents else body, hint=hint)

    @classmethod
    def told(cls, message: str, hint: str | None) -> Self:
        """What another process reported: of the mistakes, only the text has come over."""
        error = cls.__new__(cls)
        TakoError.__init__(error, message, hint=hint)
        error.mistakes = ()
        return error


class ConfigError(_FileErrors):
    """tako.toml is wrong."""

    type = "config_invalid"
    noun = "the configuration"


class CatalogError(_FileErrors):
    """The workflow files are wrong."""

    type = "catalog_invalid"
    noun = "the workflow files"


class NoProject(TakoError):
    """No project was named, and the current folder is none: it has no tako.toml (here or above), `workflows/` or `.tako`."""

    type = "no_project"
    exit_code = 3


class WrongProject(TakoError):
    """The daemon that answers serves another configuration or another queue than the client's."""

    type = "wrong_project"
    exit_code = 3


class DaemonUnreachable(TakoError):
    """Nobody answers on the control socket."""

    type = "daemon_unreachable"
    exit_code = 4


class NotFound(TakoError):
    """No such run, workflow, group or schedule; `type` says which (`unknown_workflow`, …)."""

    type = "not_found"
    exit_code = 5


class AlreadyServing(TakoError):
    """Another daemon holds the lock of this project."""

    type = "already_serving"
    exit_code = 6


class GroupFailed(TakoError):
    """The group of a run that is waited for cannot start."""

    type = "group_failed"


class RunEnded(TakoError):
    """The run that was enqueued ended before it started: it was refused."""

    type = "run_ended"


class WaitTimeout(TakoError):
    """The run that was waited for did not end in time."""

    type = "wait_timeout"
    exit_code = 124


class Interrupted(TakoError):
    """A person pressed Ctrl-C."""

    type = "interrupted"
    exit_code = 130


class StoreError(TakoError):
    """The queue file could not do what was asked; whether it was stored is unknown."""

    type = "store_error"


class StorageFull(StoreError):
    """The disk, or the size that the file may have, is full."""

    type = "storage_full"


class StoreBusy(StoreError):
    """Somebody else holds the queue file."""

    type = "busy"


class StoreDamaged(StoreError):
    """The queue file is not a sound database."""

    type = "damaged"


class StoreGone(StoreError):
    """The queue file was moved, deleted or replaced while it was in use."""

    type = "gone"


class StoreTooNew(StoreError):
    """The queue file was written by a newer release."""

    type = "newer_file"


class StoreTooOld(StoreError):
    """The queue file was written by an older release, and reading alone does not bring it up to date."""

    type = "older_file"


class ProtocolError(TakoError):
    """The other side of a socket sent something that the protocol does not allow."""

    type = "protocol"


class StepError(TakoError):
    """A step was used in a way it cannot be, such as one name twice in one attempt."""

    type = "step_error"


class SecretError(TakoError):
    """A secret cannot be read from its source, or was not given to whoever asks for it."""

    type = "secret_error"


class ChildFailed(TakoError):
    """A run started with `step.invoke` ended `dead` or `cancelled`; `child_id` is its id, `reason` that of its error."""

    type = "child_failed"

    def __init__(self, message: str, *, child_id: str, state: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.child_id = child_id
        self.state = state
        self.reason = reason


class Unwind(BaseException):
    """Leaves a handler on purpose, so that `except Exception` in user code does not catch it."""


class Parked(Unwind):
    """Every step call in flight is a wait: the slot is given up until one of them is over."""


class Drained(Unwind):
    """The worker is stopping: the run is given back and goes on elsewhere."""


class Superseded(Unwind):
    """The claim is not ours any more: the run is dropped and nothing of it is reported."""


class TimedOut(Unwind):
    """The attempt took longer than the workflow's `timeout`."""


class Cancelled(Unwind):
    """Somebody cancelled the run."""


class Bailed(Unwind):
    """`step.bail(reason)`: the run ends `cancelled`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Unwind):
    """`step.fail(error)`: the run ends `dead` at once, whatever retries are left."""

    def __init__(self, error: str | BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class RetryLater(Unwind):
    """`step.retry(after=…)`: the run is tried again after so many seconds, uncharged."""

    def __init__(self, after: float) -> None:
        super().__init__(f"again after {after:g} s")
        self.after = after


def from_json(error: dict[str, str | None]) -> TakoError:
    """The exception that `TakoError.as_json` described; an unknown type becomes a plain TakoError."""
    kind = error.get("type") or "error"
    message, hint = error.get("message") or kind, error.get("hint")
    for mistaken in (ConfigError, CatalogError):
        if kind == mistaken.type:
            return mistaken.told(message, hint)
    family = _BY_TYPE.get(kind, NotFound if kind.startswith("unknown_") else TakoError)
    return family(message, hint=hint, type=kind)


_BY_TYPE: dict[str, type[TakoError]] = {
    error.type: error
    for error in (
        BadInput,
        NotJson,
        TooLarge,
        NoProject,
        WrongProject,
        DaemonUnreachable,
        NotFound,
        AlreadyServing,
        GroupFailed,
        RunEnded,
        WaitTimeout,
        StoreError,
        StorageFull,
        StoreBusy,
        StoreDamaged,
        StoreGone,
        StoreTooNew,
        StoreTooOld,
        ProtocolError,
        StepError,
    )
}
