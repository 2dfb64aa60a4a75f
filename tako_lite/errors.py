"""The exceptions that cross module boundaries; those of one module are defined there, below `TakoError` or `Exception`.

```
TakoError                     the base class: `type`, `message`, `hint` and `exit_code`
├── BadInput                  an invalid name, payload, option or time                     exit 2
│   ├── NotJson               a value that JSON cannot represent
│   └── TooLarge              a value or a frame above its limit
├── ConfigError               tako.toml has mistakes; reports all of them                  exit 3
├── CatalogError              the workflow files have mistakes; reports all of them        exit 3
├── NoProject                 the folder has neither tako.toml nor workflow files          exit 3
├── WrongProject              the daemon serves another project or queue                   exit 3
├── DaemonUnreachable         no daemon answers on the socket                              exit 4
├── NotFound                  there is no such run, workflow, group or schedule            exit 5
├── AlreadyServing            another daemon holds the lock                                exit 6
├── GroupFailed               the group of the awaited run cannot start                    exit 1
├── RunEnded                  the enqueued run ended at once                               exit 1
├── WaitTimeout               the run did not end in time                                  exit 124
├── Interrupted               a person pressed Ctrl-C                                      exit 130
├── StoreError                an operation on the queue file failed                        exit 1
│   ├── StorageFull           the disk is full, or the file has reached its size limit
│   ├── StoreBusy             another process holds the file
│   ├── StoreDamaged          the file is not a valid database
│   ├── StoreGone             the file was moved, deleted or replaced while in use
│   ├── StoreUnreachable      the database does not answer                                 exit 4
│   ├── LeaseLost             this server did not renew its lease in time
│   ├── ReadTimeout           a read of the queue took too long and was stopped
│   ├── StoreTooNew           a newer release wrote the file
│   └── StoreTooOld           an older release wrote the file, and it was opened read-only
├── ProtocolError             the peer of a socket violated the protocol                   exit 1
├── StepError                 a step was used in an invalid way
├── SecretError               a secret cannot be read, or this process was not given it
└── ChildFailed               a run started with `step.invoke` did not succeed

Unwind (BaseException)        leaves a handler; `except Exception` does not catch it
├── Parked                    every step call in progress is a wait
├── Drained                   the worker is stopping: stop at this step, continue later
├── Superseded                another claim owns the run: drop it
├── TimedOut                  the attempt took longer than the workflow's `timeout`
├── Cancelled                 the run was cancelled
├── Bailed                    `step.bail`: the run ends `cancelled`
├── Failed                    `step.fail`: the run ends `dead`
├── HookFailed                a hook raised, or did not await `proceed()`
└── RetryLater                `step.retry`: try again later, without charging an attempt
```

`type` is the word that the wire and `--json` carry; `hint` says what to type next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, Self


class TakoError(Exception):
    """An error for a person: `message` says what happened, `hint` what to do next."""

    type: str = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, type: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if type is not None:
            self.type = type

    @classmethod
    def received(cls, message: str, *, hint: str | None, type: str) -> Self:
        """The error that another process reported with `as_json`; attributes that JSON does not carry are empty."""
        return cls(message, hint=hint, type=type)

    def as_json(self) -> dict[str, str | None]:
        """The error as the wire and `--json` carry it."""
        return {"type": self.type, "message": self.message, "hint": self.hint}


class BadInput(TakoError):
    """The request is invalid: a bad name, payload, option or time."""

    type = "bad_input"
    exit_code = 2


class NotJson(BadInput):
    """A value that JSON cannot represent: bytes, NaN, a cycle, a lone surrogate."""

    type = "not_json"


class TooLarge(BadInput):
    """A payload, result, step value or frame above its limit."""

    type = "too_large"


class Mistake(NamedTuple):
    """One mistake in a file that the user wrote. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""
    hint: str | None = None

    @property
    def place(self) -> str:
        """The file, with line and column where they are known."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * (self.column - 1)}^"
        if self.hint:
            text += f"\n    {self.hint}"
        return text


class _FileErrors(TakoError):
    """All mistakes in files that the user wrote."""

    exit_code = 3
    noun: ClassVar[str]

    def __init__(self, mistakes: Sequence[Mistake], *, hint: str | None = None) -> None:
        self.mistakes = tuple(mistakes)
        count = f"{len(self.mistakes)} mistake{'s' if len(self.mistakes) != 1 else ''}"
        body = "\n".join(str(mistake) for mistake in self.mistakes)
        about_contents = any(mistake.line for mistake in self.mistakes)
        super().__init__(f"{count} in {self.noun}\n{body}" if about_contents else body, hint=hint)

    @classmethod
    def received(cls, message: str, *, hint: str | None, type: str) -> Self:
        """The error that another process reported; `mistakes` is empty, `message` has their text."""
        error = cls.__new__(cls)
        TakoError.__init__(error, message, hint=hint, type=type)
        error.mistakes = ()
        return error


class ConfigError(_FileErrors):
    """tako.toml has mistakes."""

    type = "config_invalid"
    noun = "the configuration"


class CatalogError(_FileErrors):
    """The workflow files have mistakes."""

    type = "catalog_invalid"
    noun = "the workflow files"


class NoProject(TakoError):
    """No project was named, and the current folder has no tako.toml (here or above), `workflows/` or `.tako/`."""

    type = "no_project"
    exit_code = 3


class WrongProject(TakoError):
    """The daemon that answered serves a configuration or queue that is not the client's."""

    type = "wrong_project"
    exit_code = 3


class DaemonUnreachable(TakoError):
    """No daemon answers on the control socket."""

    type = "daemon_unreachable"
    exit_code = 4


class NotFound(TakoError):
    """There is no such run, workflow, group or schedule; `type` tells which (`unknown_workflow`, …)."""

    type = "not_found"
    exit_code = 5


class AlreadyServing(TakoError):
    """Another daemon holds the lock of this project."""

    type = "already_serving"
    exit_code = 6


class GroupFailed(TakoError):
    """The group of the awaited run cannot start."""

    type = "group_failed"


class RunEnded(TakoError):
    """The enqueued run was refused: it ended before it started."""

    type = "run_ended"


class WaitTimeout(TakoError):
    """The awaited run did not end in time."""

    type = "wait_timeout"
    exit_code = 124


class Interrupted(TakoError):
    """A person pressed Ctrl-C."""

    type = "interrupted"
    exit_code = 130


class StoreError(TakoError):
    """An operation on the queue file failed; whether its changes were stored is unknown."""

    type = "store_error"


class StorageFull(StoreError):
    """The disk is full, or the queue file has reached its size limit."""

    type = "storage_full"


class StoreBusy(StoreError):
    """Another process holds the queue file."""

    type = "busy"


class StoreDamaged(StoreError):
    """The queue file is not a valid database."""

    type = "damaged"


class StoreGone(StoreError):
    """The queue file was moved, deleted or replaced while it was in use."""

    type = "gone"


class StoreUnreachable(StoreError):
    """The database that holds the queue does not answer. If it was asked to commit, `is_unknown`: the changes may be stored."""

    type = "store_unreachable"
    exit_code = 4
    is_unknown = False


class LeaseLost(StoreError):
    """This server could not renew its lease in time: its workers are killed, and other servers take its runs."""

    type = "lease_lost"


class ReadTimeout(StoreError):
    """A read of the queue took longer than its limit and was stopped."""

    type = "read_timeout"


class StoreTooNew(StoreError):
    """A newer release of tako-lite wrote the queue file."""

    type = "newer_file"


class StoreTooOld(StoreError):
    """An older release wrote the queue file; it must be opened for writing to be migrated."""

    type = "older_file"


class ProtocolError(TakoError):
    """The peer of a socket sent something that the protocol does not allow."""

    type = "protocol"


class StepError(TakoError):
    """A step was used in an invalid way, such as one name twice in one attempt."""

    type = "step_error"


class SecretError(TakoError):
    """A secret cannot be read from its source, or the group of this process does not have it."""

    type = "secret_error"


class ChildFailed(TakoError):
    """A run started with `step.invoke` ended `dead` or `cancelled`; `child_id` is its id, `reason` that of its error."""

    type = "child_failed"

    def __init__(self, message: str, *, child_id: str, state: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.child_id = child_id
        self.state = state
        self.reason = reason

    @classmethod
    def received(cls, message: str, *, hint: str | None, type: str) -> Self:
        """The error that another process reported; `child_id` and `state` are empty."""
        error = cls(message, child_id="", state="")
        error.hint, error.type = hint, type
        return error


class Unwind(BaseException):
    """Leaves a handler; a BaseException, so that `except Exception` in user code does not catch it."""


class Parked(Unwind):
    """Every step call in progress is a wait: the run releases its slot until one of them ends."""


class Held(Unwind):
    """The code has changed, and the handler asks for new steps before it has reached all stored ones: a person decides."""

    def __init__(self, missing: list[str], stopped_at: list[str]) -> None:
        super().__init__()
        self.missing = missing
        self.stopped_at = stopped_at


class Drained(Unwind):
    """The worker is stopping: the run is re-queued and continues in another worker."""


class Superseded(Unwind):
    """The worker lost its claim: it drops the run and reports nothing."""


class TimedOut(Unwind):
    """The attempt took longer than the workflow's `timeout`."""


class Cancelled(Unwind):
    """The run was cancelled."""


class Bailed(Unwind):
    """`step.bail(reason)`: the run ends `cancelled`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Unwind):
    """`step.fail(error)`: the run ends `dead` at once, even if it has retries left."""

    def __init__(self, error: str | BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class HookFailed(Unwind):
    """A hook raised, or did not await `proceed()`: the attempt fails. `error` is what it raised, if anything."""

    def __init__(self, message: str, error: BaseException | None) -> None:
        super().__init__(message)
        self.error = error


class RetryLater(Unwind):
    """`step.retry(after=…)`: the run is tried again after that many seconds, and no attempt is charged."""

    def __init__(self, after: float) -> None:
        super().__init__(f"again after {after:g} s")
        self.after = after


def from_json(error: dict[str, str | None]) -> TakoError:
    """The exception that `TakoError.as_json` described. An unknown type becomes a plain TakoError."""
    kind = error.get("type") or TakoError.type
    family = _BY_TYPE.get(kind, NotFound if kind.startswith("unknown_") else TakoError)
    return family.received(error.get("message") or kind, hint=error.get("hint"), type=kind)


def _descendants(family: type[TakoError]) -> Iterator[type[TakoError]]:
    for child in family.__subclasses__():
        yield from (child, *_descendants(child))


_BY_TYPE: dict[str, type[TakoError]] = {error.type: error for error in _descendants(TakoError) if error is not _FileErrors}
"""The classes of this module by the word that JSON carries."""
