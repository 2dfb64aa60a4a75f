"""Attempts with the hooks of the project around them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tako_lite.errors import HookFailed
from tako_lite.hooks import Outcome, RunInfo, attempt_hooks
from tako_lite.middleware import call_through
from tako_lite.protocol.items import End, EvaluationEnded, RunFailed, RunNotImported, RunSucceeded
from tako_lite.protocol.worker import RunFacts
from tako_lite.wire import decode_value
from tako_lite.worker.loader import Loader
from tako_lite.worker.report import Report, failed, find_unwind, unwound
from tako_lite.worker.run import ActiveRun

_OUTCOMES: Final[dict[str, Outcome]] = {
    "ok": "succeeded",
    "found": "succeeded",
    "fail": "failed",
    "broken": "failed",
    "bail": "bailed",
    "later": "postponed",
    "parked": "parked",
    "given": "released",
    "cancelled": "cancelled",
    "dropped": "superseded",
}
_FINAL: Final = frozenset({"ok", "found", "bail", "cancelled"})


class HookedAttempts:
    """Makes attempts in a worker with hooks; `attempt` makes one without them."""

    def __init__(self, group: str, loader: Loader, attempt: Callable[[ActiveRun], Awaitable[Report]]) -> None:
        self._group = group
        self._loader = loader
        self._attempt = attempt

    async def outcome(self, run: ActiveRun) -> Report:
        """The end of an attempt. Hooks see it, and change it only by an error of their own."""
        info, root = self._info(run), self._loader.root
        run.info = info
        report: Report | None = None

        async def attempt() -> Any:
            nonlocal report
            report = await self._attempt(run)
            end = report[0]
            _settle(info, end)
            if isinstance(end, RunSucceeded | EvaluationEnded):
                return decode_value(end.result)
            error, run.raised = run.raised or run.unwinding, None  # kept no longer: its traceback holds the run
            if error is not None:
                raise error
            return None

        try:
            await call_through(attempt_hooks, info, attempt, lambda failure: _fail(info))
        except HookFailed as failure:
            return unwound(run, failure, root)
        except BaseException as error:
            if report is None:  # a hook was left before it had called the handler
                unwinding = run.unwinding or find_unwind(error)
                return failed(run, error, root) if unwinding is None else unwound(run, unwinding, root)
        assert report is not None  # noqa: S101 -- else a HookFailed was raised
        return report

    def _info(self, run: ActiveRun) -> RunInfo:
        facts = RunFacts(*(run.facts or ()))
        schedule, timezone = self._loader.schedule_of(run.workflow_name)
        return RunInfo(
            id=run.run_id,
            workflow=run.workflow_name,
            group=self._group,
            attempt=run.attempt,
            max_attempts=facts.max_attempts,
            tenant=run.tenant,
            parent=facts.parent,
            schedule=schedule,
            timezone=timezone,
            trace=facts.trace,
        )


def _settle(info: RunInfo, end: End) -> None:
    """Add how the attempt ended to what hooks know of the run."""
    outcome, is_final = _OUTCOMES[end.kind], end.kind in _FINAL
    if isinstance(end, RunFailed | RunNotImported):
        is_final = info.attempt >= info.max_attempts
        if isinstance(end, RunFailed):
            is_final = is_final or not end.retryable
            outcome = "timeout" if end.failure.get("reason") == "timeout" else "failed"
    _set(info, outcome, is_final)


def _fail(info: RunInfo) -> None:
    """The same after an error of a hook."""
    _set(info, "failed", info.attempt >= info.max_attempts)


def _set(info: RunInfo, outcome: Outcome, is_final: bool) -> None:
    object.__setattr__(info, "outcome", outcome)
    object.__setattr__(info, "is_final", is_final)
