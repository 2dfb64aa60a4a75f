"""The events of the daemon, and the log line of each."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import isfunction, signature
from typing import TYPE_CHECKING, Any, Final

from tako_lite.daemon.log_format import Happening, happening
from tako_lite.daemon.unexpected import Unexpected
from tako_lite.names import printable
from tako_lite.processes.group import RESTART
from tako_lite.units import counted, duration_text, was_or_were

if TYPE_CHECKING:
    from tako_lite.daemon.worker_session import WorkerSession
    from tako_lite.engine import StepState
    from tako_lite.errors import TakoError
    from tako_lite.processes.child import Exit
    from tako_lite.processes.group import Group
    from tako_lite.processes.worker import Worker

logger = logging.getLogger("tako_lite")


AGAIN_AFTER: Final = 60.0
"""Seconds after which a persistent error is logged again."""
REMINDED_AFTER: Final = 3600.0
"""Seconds between two log lines about a group that still cannot start."""
SETTLED_AFTER: Final = 60.0
"""Seconds for which a group must run again before the same failure is logged as a new one."""
MAX_SHOWN: Final = 200
"""Characters of a result in a line of the log; `show` has all of it."""
KILLED: Final = {
    "drain": "did not reach its next step within drain_timeout ({drain_timeout}) and was killed",
    "startup": "was not ready within startup_timeout ({startup_timeout}) and was killed",
    "stop": "was killed, because the daemon was told to stop at once",
    "unreachable": "closed its connection to the daemon, did not end by itself and was killed",
    "nonsense": "sent the daemon invalid data and was killed",
    "daemon": "was killed after an error of the daemon itself",
    "timeout": "was killed, because run {run} ignored its timeout",
    "cancelled": "was killed, because run {run} ignored that it was cancelled",
    "silent": "was killed, because it gave no sign of life within heartbeat_timeout ({heartbeat_timeout})",
}
"""Why the daemon kills a worker, and how the log puts it."""
_WHY_NOW: Final = {
    "timeout": "run {run} has ignored its timeout",
    "cancelled": "run {run} has ignored that it was cancelled",
    "silent": "it has given no sign of life within heartbeat_timeout ({heartbeat_timeout}); it has run {run}",
}


@dataclass(slots=True)
class _Failing:
    """A group that cannot start: its last logged error, and since when it fails."""

    error: str
    unhealthy: bool
    since: float
    reminded_at: float
    running_since: float | None = None


class Events:
    """One method for each event; tests override them to listen. What a method raises is reported, and stops nothing else."""

    def __init__(self) -> None:
        self.unexpected = Unexpected()
        self._logged_at: dict[str, float] = {}
        """The errors that were logged recently, and when."""
        self._failing: dict[str, _Failing] = {}
        methods = {name: method for name, method in {**vars(Events), **vars(type(self))}.items() if isfunction(method)}
        for name in [name for name in methods if not name.startswith("_")]:
            contained = self.unexpected.contained(f"the log line of {name}", getattr(self, name))
            setattr(self, name, _noted(name, _parameters(methods[name]), contained))

    def serving(self, name: str, root: str, groups: int, workflows: int) -> None:
        logger.info("serving %s in %s: %s in %s", name, root, counted(workflows, "workflow"), counted(groups, "group"))

    def recovered(self, runs: Mapping[str, int], server: str, survivors: list[int] | None = None) -> None:
        """Runs were re-queued: of the earlier daemon of this server, or of others; `runs` counts them by the server's name."""
        if survivors:
            processes = counted(len(survivors), "process", "processes")
            logger.warning("killed %s that an earlier daemon left: %s", processes, ", ".join(map(str, survivors)))
        for name, count in runs.items():
            if name == server or not name:
                logger.warning("re-queued %s that the previous daemon was running", counted(count, "run"))
            else:
                logger.warning("re-queued %s of server %s, which is gone", counted(count, "run"), name)

    def listening_anew(self, socket: str) -> None:
        logger.warning("%s was removed or replaced; the daemon has made a new one and listens on it", socket)

    def monitoring(self, address: str) -> None:
        logger.info("answering health checks and scrapes at %s", address)

    def dashboard(self, address: str) -> None:
        logger.info("starting the dashboard when a browser connects to %s", address)

    def dashboard_failed(self, why: str) -> None:
        logger.error("the dashboard failed, and runs are not affected: %s", printable(why))

    def monitor_failed(self, error: TakoError) -> None:
        logger.error("[monitor] is not served, and runs are not affected: %s", printable(error.message))

    def stopping(self, reason: str, how_to_kill: str = "send it again to kill the workers") -> None:
        logger.info("stopping gracefully (%s); %s", printable(reason), how_to_kill)

    def fatal(self, error: TakoError) -> None:
        logger.error("stopping because of a fatal error: %s", printable(error.message))

    def stopped(self) -> None:
        logger.info("stopped")

    def worker_started(self, worker: Worker) -> None:
        logger.debug("worker %d of group %s started", worker.pid, worker.group.name)

    def worker_ready(self, worker: Worker) -> None:
        logger.debug("worker %d of group %s is ready", worker.pid, worker.group.name)
        failing = self._failing.get(worker.group.name)
        if failing is not None and failing.running_since is None:
            failing.running_since = time.monotonic()
            logger.info("group %s is running again", worker.group.name)

    def worker_gone(self, worker: Worker, exit: Exit, runs: int, fate: str = "") -> None:
        """A worker is dead; `fate` says what becomes of its runs."""
        killed = _killed(worker, exit)
        end = "did not end within drain_timeout ({drain_timeout}) and was killed" if killed == "drain" and not runs else None
        said = _worded(end, worker, None) if end else ending(worker, exit)
        if killed is None and exit.code is not None and exit.code < 0:
            said += " (the daemon sent no signal)"
        what = f"worker {worker.pid} of group {worker.group.name} {said}"
        if not worker.ready_at or (killed is None and worker.asked_to_stop and not runs):
            logger.debug("%s", what)  # why it did not start is logged for its group
        else:
            logger.warning("%s%s", what, f"; {fate}" if fate else "")

    def group_changed(self, group: Group) -> None:
        """Log a group that cannot start: at its first failure, when it becomes unhealthy, and then once an hour."""
        if group.paused or not group.failures or not group.last_error:
            return
        now, error, unhealthy = time.monotonic(), re.sub(r"\d+", "0", group.last_error), group.state == "unhealthy"
        known = self._failing.get(group.name)
        if known is not None and known.running_since is not None and now - known.running_since > SETTLED_AFTER:
            known = None
        said = printable(group.last_error)
        if known is None or known.error != error or unhealthy > known.unhealthy:
            since = now if known is None else known.since
            self._failing[group.name] = _Failing(error, unhealthy, since, now)
            if unhealthy:
                logger.warning(
                    "group %s is unhealthy: it failed to start %d times and will be retried every %s: %s",
                    group.name, group.failures, _seconds(float(RESTART.max)), said,
                )  # fmt: skip
            else:
                logger.warning("group %s failed to start and will be retried in %s: %s", group.name, _in(group), said)
        elif now - known.reminded_at >= REMINDED_AFTER:
            known.reminded_at = now
            tries, hours = counted(group.failures, "try", "tries"), (now - known.since) / 3600
            logger.warning("group %s still cannot start, after %s in %.1f hours: %s", group.name, tries, hours, said)

    def killing(self, session: WorkerSession, run_id: str, why: str) -> None:
        worker = session.worker
        logger.warning(
            "killing worker %d of group %s: %s", worker.pid, worker.group.name, _worded(_WHY_NOW[why], worker, run_id)
        )

    def attempt_failed(self, group: str, run_id: str, what: str) -> None:
        logger.info("%s", what)

    def run_died(self, group: str, run_id: str, what: str) -> None:
        logger.warning("%s", what)

    def steps_changed(self, group: str, run_id: str, what: str) -> None:
        logger.warning("%s", what)

    def run_started(self, session: WorkerSession, run_id: str, workflow: str, attempt: int, attempts: int) -> None:
        logger.info("%s (run %s) started: attempt %d of %d, in %s", workflow, run_id, attempt, attempts, _who(session))

    def step_ended(self, session: WorkerSession, run_id: str, step: str, state: StepState, seconds: float) -> None:
        logger.info("step %s of run %s %s in %s", step, run_id, state, _took(seconds))

    def run_succeeded(self, session: WorkerSession, run_id: str, workflow: str, seconds: float, result: str) -> None:
        logger.info("%s (run %s) succeeded in %s: %s", workflow, run_id, _took(seconds), printable(shortened(result)))

    def run_parked(self, session: WorkerSession, run_id: str, workflow: str, waits: list[str]) -> None:
        logger.info("%s (run %s) is parked and waits %s", workflow, run_id, printable(shortened(", ".join(waits))))

    def run_stopped(self, session: WorkerSession, run_id: str, workflow: str, what: str) -> None:
        logger.info("%s (run %s) %s", workflow, run_id, printable(shortened(what)))

    def attempt_raised(self, group: str, run_id: str, text: str) -> None:
        logger.info("%s", printable(text))

    def output(self, group: str, run_id: str | None, text: str) -> None:
        logger.info("%s %s | %s", group, run_id or "-", printable(text))

    def slow(self, session: WorkerSession, seconds: float) -> None:
        logger.warning(
            "worker %d of group %s has sent no heartbeat for %.0f s but uses the processor; does a call hold the GIL? runs: %s",
            session.worker.pid, session.worker.group.name, seconds, ", ".join(session.assignments),
        )  # fmt: skip

    def reloaded(self, changed: list[str]) -> None:
        what = f"the workers of {', '.join(changed)} are being replaced" if changed else "no group has changed"
        logger.info("reloaded: %s", what)

    def code_changed(self, what: str) -> None:
        logger.warning("%s", what)

    def moved(self, group: str, to: str, runs: int) -> None:
        logger.info("moved %s from group %s to group %s", counted(runs, "run"), group, to)

    def output_lost(self, group: str, error: str) -> None:
        logger.error("cannot write what the workers of group %s print: %s; their lines are dropped", group, printable(error))

    def output_kept_again(self, group: str, lines: int) -> None:
        dropped = f"{counted(lines, 'line')} {was_or_were(lines)} dropped meanwhile"
        logger.warning("the log of group %s is written again; %s", group, dropped)

    def trouble(self, what: str) -> None:
        now = time.monotonic()
        self._logged_at = {known: at for known, at in self._logged_at.items() if now - at <= AGAIN_AFTER}
        if what not in self._logged_at:
            self._logged_at[what] = now
            logger.error("%s", printable(what))


@cache
def _parameters(method: Callable[..., Any]) -> list[str]:
    """The names of what a method is called with."""
    return [*signature(method).parameters][1:]


def _noted(name: str, parameters: list[str], log: Callable[..., None]) -> Callable[..., None]:
    """The same method; formats of the log see its name, and what its arguments are about."""

    def noted(*arguments: Any) -> None:
        token = happening.set(_happening(name, dict(zip(parameters, arguments, strict=False))))
        try:
            log(*arguments)
        finally:
            happening.reset(token)

    return noted


def _happening(name: str, arguments: dict[str, Any]) -> Happening:
    session = arguments.get("session")
    worker = arguments.get("worker") or (None if session is None else session.worker)
    group = arguments.get("group") or (None if worker is None else worker.group)
    return Happening(
        name,
        group if group is None or isinstance(group, str) else group.name,
        arguments.get("run_id"),
        None if worker is None else worker.pid,
    )


def ending(worker: Worker, exit: Exit) -> str:
    """How a worker ended, and why if the daemon killed it: `was killed by SIGSEGV`."""
    killed = _killed(worker, exit)
    return str(exit) if killed is None else _worded(KILLED[killed], worker, worker.killed_for)


def _killed(worker: Worker, exit: Exit) -> str | None:
    """Why the daemon killed a worker; None if it ended in another way, perhaps just before the signal."""
    return worker.killed if exit.code in (None, -signal.SIGKILL) else None


def _worded(reason: str, worker: Worker, run: str | None) -> str:
    settings = worker.group.settings
    return reason.format(
        run=run,
        drain_timeout=duration_text(settings.drain_timeout),
        startup_timeout=duration_text(settings.startup_timeout),
        heartbeat_timeout=duration_text(settings.heartbeat_timeout),
    )


def shortened(text: str) -> str:
    """A text on one line, cut to what a line of the log shows of it."""
    line = " ".join(text.split("\n"))
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}…"


def _who(session: WorkerSession) -> str:
    return f"worker {session.worker.pid} of group {session.worker.group.name}"


def _took(seconds: float) -> str:
    return duration_text(round(seconds, 3))


def _in(group: Group) -> str:
    """How long a group waits until its next try, in words."""
    at = group.next_try_at
    return "a moment" if at is None else _seconds(max(at - asyncio.get_running_loop().time(), 0.0))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
