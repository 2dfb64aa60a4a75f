"""What an attempt tells at its end of stored steps that it did not reach again.

A handler that returned or parked has had every chance to ask for a step. One that failed, or that ended its run, may just not
have come so far: then a step counts only if the code has changed and the handler went past it, to a step that is not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tako_lite.protocol.items import RunHeld, StepsNotReached
from tako_lite.reached import not_reached

if TYPE_CHECKING:
    from tako_lite.protocol.items import End
    from tako_lite.worker.run import ActiveRun


def compare(run: ActiveRun, end: End) -> StepsNotReached | RunHeld | None:
    """What is to be sent of stored steps: before the end of the attempt, or in its place if the run is held."""
    if end.kind not in ("ok", "parked") and not (end.kind in ("fail", "bail", "later") and run.changed and run.unknown_steps()):
        return None
    missing = not_reached(run.succeeded_before(), run.begun)
    if not missing or (not run.changed and _took_another_branch(run)):
        return None
    if run.changed == "hold" and end.kind == "ok":
        return RunHeld("held", run.run_id, run.token, missing, run.unknown_steps())
    return StepsNotReached("missed", run.run_id, run.token, missing, run.unknown_steps())


def _took_another_branch(run: ActiveRun) -> bool:
    """Whether a step that had failed succeeded this time: what the handler did after the failure is not done again."""
    return any(state == "failed" and run.has_value(name) for name, state in run.states_before())
