"""The end of an attempt as an item for the daemon: what its handler raised, described within bounds."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tako_lite.engine import message_of, sanitized
from tako_lite.errors import (
    BadInput,
    Bailed,
    Cancelled,
    Failed,
    Held,
    HookFailed,
    Parked,
    RetryLater,
    StepError,
    Superseded,
    TakoError,
    TimedOut,
    Unwind,
)
from tako_lite.fingerprint import fingerprint_of_error, fingerprint_of_word
from tako_lite.protocol.items import (
    End,
    FailureFacts,
    RunBailed,
    RunCancelled,
    RunDropped,
    RunFailed,
    RunHeld,
    RunNotImported,
    RunParked,
    RunPostponed,
    RunReleased,
)
from tako_lite.secrets import masked
from tako_lite.worker.loader import CannotImport

if TYPE_CHECKING:
    from tako_lite.worker.run import ActiveRun

MAX_TRACEBACK: Final = 16_384
MAX_MESSAGE: Final = 4_096

Report = tuple[End, int]
"""The end of an attempt, and how many characters of values it carries."""


class _PayloadRefused(BadInput):
    """The payload does not fit the handler's type."""

    type = "bad_payload"


def refuse_payload(error: BadInput) -> BadInput:
    """The error for a payload that does not fit the handler's type."""
    return _PayloadRefused(error.message, hint=error.hint)


def unwound(run: ActiveRun, reason: Unwind, root: Path) -> Report:
    """The report of an attempt whose handler was left; `root` is the folder of the project."""
    if isinstance(reason, Held):
        return RunHeld("held", run.run_id, run.token, reason.missing, reason.stopped_at), 0
    return _end_of(run.run_id, run.token, reason, run.parked_on, root), 0


def _end_of(run_id: str, token: int, reason: Unwind, parked_on: list[str], root: Path) -> End:
    """The end of an attempt whose handler was left."""
    match reason:
        case Parked():
            return RunParked("parked", run_id, token, parked_on)
        case Superseded():
            return RunDropped("dropped", run_id, token)
        case Cancelled():
            return RunCancelled("cancelled", run_id, token)
        case TimedOut():
            failure = FailureFacts(type="Timeout", message="the attempt took longer than its timeout", reason="timeout")
            return RunFailed("fail", run_id, token, failure, True)
        case Bailed():
            return RunBailed("bail", run_id, token, sanitized(str(reason.reason))[:MAX_MESSAGE])
        case RetryLater():
            return RunPostponed("later", run_id, token, reason.after)
        case Failed():
            return RunFailed("fail", run_id, token, _failed_for_good(reason.error, root), False)
        case HookFailed():
            return RunFailed("fail", run_id, token, _failed_hook(reason, root), True)
    return RunReleased("given", run_id, token)


def _failed_for_good(error: object, root: Path) -> FailureFacts:
    if isinstance(error, BaseException):
        failure = _describe(error, root)
    else:
        message = sanitized(str(error))
        failure = {"type": "Failed", "message": message, "fingerprint": fingerprint_of_word("failed", message)}
    return {**failure, "message": failure["message"][:MAX_MESSAGE], "reason": "failed"}


def _failed_hook(failure: HookFailed, root: Path) -> FailureFacts:
    about = _describe(failure if failure.error is None else failure.error, root)
    return {**about, "type": "HookFailed", "message": sanitized(str(failure))[:MAX_MESSAGE], "reason": "hook_failed"}


def failed(run: ActiveRun, error: BaseException, root: Path) -> Report:
    """The end of an attempt whose handler failed, and whether another attempt could succeed."""
    failure = _describe(error, root)
    retryable = not isinstance(error, BadInput | StepError)
    if isinstance(error, _PayloadRefused):
        failure = FailureFacts(type="BadPayload", message=sanitized(error.message), reason="bad_payload")
    elif isinstance(error, CannotImport):
        return RunNotImported("broken", run.run_id, run.token, error.message), 0
    elif isinstance(error, TakoError):
        if not retryable:
            failure["reason"] = error.type
        if hint := getattr(error, "hint", None):  # a subclass may not have called `TakoError.__init__`
            failure["message"] += f" ({sanitized(str(hint))})"
    return RunFailed("fail", run.run_id, run.token, failure, retryable), len(failure.get("traceback") or "")


def find_unwind(error: BaseException) -> Unwind | None:
    """The Unwind that an error is, or that an exception group holds."""
    if isinstance(error, Unwind):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if found := find_unwind(inner):
                return found
    return None


def _describe(error: BaseException, root: Path) -> FailureFacts:
    message = message_of(error)
    try:
        text = masked("".join(traceback.format_exception(error, limit=-30)))  # before it is cut
    except BaseException:  # an error in the user's `__str__` must end the run, not the worker
        text = "(its traceback cannot be read)"
    if len(text) > MAX_TRACEBACK:
        text = text[: MAX_TRACEBACK // 2] + "\n…\n" + text[-MAX_TRACEBACK // 2 :]
    message = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"
    return {
        "type": type(error).__name__,
        "message": message,
        "traceback": sanitized(text),
        "fingerprint": fingerprint_of_error(error, root),
    }
