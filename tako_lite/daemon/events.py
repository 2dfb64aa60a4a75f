"""What happens in the daemon, and the words in which its log says so."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from tako_lite.wire import printable

if TYPE_CHECKING:
    from tako_lite.daemon.dispatcher import Post
    from tako_lite.errors import TakoError
    from tako_lite.processes.child import Exit
    from tako_lite.processes.group import Group
    from tako_lite.processes.worker import Worker

logger = logging.getLogger("tako_lite")


AGAIN_AFTER: Final = 60.0
"""Seconds after which a trouble that lasts is told again."""


class Events:
    """The engine tells what happened; tests listen by overriding."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        """Which troubles were told of late, and when."""

    def serving(self, name: str, root: str, groups: int, workflows: int) -> None:
        logger.info("serving %s in %s: %d workflows in %d groups", name, root, workflows, groups)

    def recovered(self, runs: int, survivors: list[int]) -> None:
        if survivors:
            logger.warning("killed %d processes that an earlier daemon left: %s", len(survivors), survivors)
        if runs:
            logger.warning("gave back %d runs that an earlier daemon was running", runs)

    def listening_anew(self, socket: str) -> None:
        logger.warning("%s was removed or replaced; it is made anew", socket)

    def stopping(self, reason: str) -> None:
        logger.info("%s: stopping; once more ends the workers at once", reason)

    def doomed(self, error: TakoError) -> None:
        logger.error("%s: stopping, so that nothing is made worse", printable(error.message))

    def stopped(self) -> None:
        logger.info("stopped")

    def worker_started(self, worker: Worker) -> None:
        logger.debug("%s: worker %d started", worker.group.name, worker.pid)

    def worker_ready(self, worker: Worker) -> None:
        logger.debug("%s: worker %d is ready", worker.group.name, worker.pid)

    def worker_gone(self, worker: Worker, exit: Exit, runs: int) -> None:
        if worker.asked_to_stop and not runs:
            logger.debug("%s: worker %d %s", worker.group.name, worker.pid, exit)
        else:
            logger.warning("%s: worker %d %s; it had %d runs", worker.group.name, worker.pid, exit, runs)

    def group_changed(self, group: Group) -> None:
        if group.last_error and group.state in ("backoff", "unhealthy"):
            logger.warning("%s is %s: %s", group.name, group.state, printable(group.last_error))

    def killing(self, post: Post, run_id: str, why: str) -> None:
        logger.warning("%s: killing worker %d because of run %s: %s", post.worker.group.name, post.worker.pid, run_id, why)

    def slow(self, post: Post, seconds: float) -> None:
        logger.warning(
            "%s: worker %d has not been heard for %.0f s but uses the processor: a long call that holds the GIL? runs: %s",
            post.worker.group.name, post.worker.pid, seconds, ", ".join(post.running),
        )  # fmt: skip

    def reloaded(self, changed: list[str]) -> None:
        logger.info("reloaded; groups replaced: %s", ", ".join(changed) or "none")

    def moved(self, group: str, to: str, runs: int) -> None:
        logger.info("%s runs of group %s went to %s", runs, group, to)

    def trouble(self, what: str) -> None:
        now = time.monotonic()
        self._told = {told: at for told, at in self._told.items() if now - at <= AGAIN_AFTER}
        if what not in self._told:
            self._told[what] = now
            logger.error("%s", printable(what))
