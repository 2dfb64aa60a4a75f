"""`enqueue --wait`: waits until the run has ended, or until something must be fixed before it can start."""

from __future__ import annotations

import re
from typing import Any, Final

from tako_lite.cli.options import chosen_config
from tako_lite.cli.output import note
from tako_lite.client import Client
from tako_lite.client.project import Project
from tako_lite.clock import SystemClock, milliseconds
from tako_lite.errors import DaemonUnreachable, GroupFailed, Interrupted, WaitTimeout
from tako_lite.records import Enqueued

FIRST_CHECK: Final = 1.0
"""Seconds until the run's group is first checked; each following pause is twice as long."""
LONGEST_PAUSE: Final = 10.0
DAEMON_LIMIT: Final = 5.0
"""Seconds to wait for a daemon that is starting or being replaced."""
_PERMANENT: Final = re.compile(r"\b(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError|NameError)\b")
"""Errors that will occur again at every try until the files are changed."""

Shape = dict[str, Any]


def wait_for_end(client: Client, enqueued: Enqueued, timeout: float | None) -> Shape:
    """The run once it has ended. Raises WaitTimeout after `timeout`, GroupFailed, DaemonUnreachable, Interrupted."""
    try:
        return _Waiting(client, enqueued, timeout).end()
    except KeyboardInterrupt:
        id = enqueued.id
        hint = f"`tako-lite show {id}` shows its progress, `tako-lite cancel {id}` cancels it"
        raise Interrupted(f"interrupted; run {id} continues", hint=hint) from None


class _Waiting:
    """Waits for one run in intervals, and checks between them what keeps it from starting."""

    def __init__(self, client: Client, enqueued: Enqueued, timeout: float | None) -> None:
        self._client = client
        self._id = enqueued.id
        self._group = enqueued.group
        self._timeout = timeout
        self._project = Project(chosen_config())
        self._clock = SystemClock()
        self._deadline = None if timeout is None else self._clock.monotonic() + timeout
        self._alone_since: float | None = None
        self._said: set[str] = set()

    def end(self) -> Shape:
        """The run once it has ended."""
        pause = FIRST_CHECK
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - self._clock.monotonic())
            is_last = left is not None and left <= pause
            try:
                return self._client.wait(self._id, left if is_last else pause)
            except WaitTimeout as error:
                if is_last:
                    raise WaitTimeout(self._timeout_message(), hint=error.hint) from None
            self._check_run()
            pause = FIRST_CHECK if self._alone_since is not None else min(2 * pause, LONGEST_PAUSE)

    def _timeout_message(self) -> str:
        from tako_lite.units import duration_text

        return f"run {self._id} did not end within {duration_text(self._timeout or 0)}"

    def _check_run(self) -> None:
        """Warn about what the run waits for, or raise an error if waiting cannot help."""
        if not self._project.has_daemon() and not self._is_served_elsewhere():
            self._check_missing_daemon()
            return
        self._alone_since = None
        run = self._client.get(self._id)
        self._group = run["group"]
        if run["state"] != "pending" or milliseconds(run["run_at"]) > self._clock.now():
            return
        groups = self._client.status()["groups"]
        for group in groups:
            if group["name"] == self._group:
                self._check_group(group)

    def _is_served_elsewhere(self) -> bool:
        """Whether a server on another machine serves the queue."""
        return not self._project.config().queue.location.is_file and bool(self._client.status()["servers"])

    def _check_missing_daemon(self) -> None:
        """Without a time-out, wait for a daemon only as long as its start takes."""
        now = self._clock.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        if self._deadline is None and now - self._alone_since >= DAEMON_LIMIT:
            hint = "start `tako-lite serve`, or give --timeout to wait for a daemon"
            raise DaemonUnreachable(f"run {self._id} is stored, but no daemon is running to execute it", hint=hint)

    def _check_group(self, group: Shape) -> None:
        name, state, error = group["name"], group["state"], group["last_error"]
        if state == "paused":
            self._warn(f"run {self._id} waits because group {name} is paused: tako-lite resume {name}")
        elif state == "unhealthy" or (state == "backoff" and error and _PERMANENT.search(error)):
            hint = f"run {self._id} stays in the queue; fix the group, then `tako-lite resume {name}`"
            raise GroupFailed(f"group {name} cannot start: {error}", hint=hint)
        elif state == "backoff":
            self._warn(f"group {name} failed to start and is being retried: {error}")

    def _warn(self, text: str) -> None:
        """Print a warning unless it was printed before."""
        if text not in self._said:
            self._said.add(text)
            note(f"warning: {text}")
