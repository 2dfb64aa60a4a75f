"""`enqueue --wait`: waits until the run has ended, or until it is clear that it will not end by itself."""

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

FIRST_LOOK: Final = 1.0
"""Seconds until the run's group is checked; each pause is twice as long as the one before."""
LONGEST_PAUSE: Final = 10.0
DAEMON_LIMIT: Final = 5.0
"""Seconds that a daemon which is starting, or is being replaced, is waited for."""
_IN_VAIN: Final = re.compile(r"\b(ModuleNotFoundError|ImportError|SyntaxError|IndentationError|TabError|NameError)\b")
"""Errors that another try only meets again, as long as the files stay as they are."""

Shape = dict[str, Any]


def wait_for_end(client: Client, enqueued: Enqueued, timeout: float | None) -> Shape:
    """The run once it has ended. Raises WaitTimeout after `timeout`, GroupFailed, DaemonUnreachable, Interrupted."""
    try:
        return _Waiting(client, enqueued, timeout).end()
    except KeyboardInterrupt:
        id = enqueued.id
        hint = f"`tako-lite show {id}` shows how it goes, `tako-lite cancel {id}` ends it"
        raise Interrupted(f"interrupted; the run {id} goes on", hint=hint) from None


class _Waiting:
    """Waits for one run in parts, and looks between them at what keeps the run from starting."""

    def __init__(self, client: Client, enqueued: Enqueued, timeout: float | None) -> None:
        self._client = client
        self._id = enqueued.id
        self._group = enqueued.group
        self._timeout = timeout
        self._project = Project(chosen_config())
        self._clock = SystemClock()
        self._give_up = None if timeout is None else self._clock.monotonic() + timeout
        self._alone_since: float | None = None
        self._said: set[str] = set()

    def end(self) -> Shape:
        """The run once it has ended."""
        pause = FIRST_LOOK
        while True:
            left = None if self._give_up is None else max(0.0, self._give_up - self._clock.monotonic())
            is_last = left is not None and left <= pause
            try:
                return self._client.wait(self._id, left if is_last else pause)
            except WaitTimeout as error:
                if is_last:
                    raise WaitTimeout(self._late(), hint=error.hint) from None
            self._look()
            pause = FIRST_LOOK if self._alone_since is not None else min(2 * pause, LONGEST_PAUSE)

    def _late(self) -> str:
        from tako_lite.units import duration_text

        return f"run {self._id} did not end within {duration_text(self._timeout or 0)}"

    def _look(self) -> None:
        """Say what the run waits for, and raise an error where waiting does not help."""
        if not self._project.has_daemon():
            self._miss_daemon()
            return
        self._alone_since = None
        run = self._client.get(self._id)
        self._group = run["group"]
        if run["state"] != "pending" or milliseconds(run["run_at"]) > self._clock.now():
            return
        groups = self._client.status()["groups"]
        for group in groups:
            if group["name"] == self._group:
                self._judge(group)

    def _miss_daemon(self) -> None:
        """Without a time-out a daemon is waited for as long as its start takes, and no longer."""
        now = self._clock.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        if self._give_up is None and now - self._alone_since >= DAEMON_LIMIT:
            hint = "start `tako-lite serve`; --timeout waits for a daemon too"
            raise DaemonUnreachable(f"no daemon is running, so run {self._id} is stored but not waited for", hint=hint)

    def _judge(self, group: Shape) -> None:
        name, state, error = group["name"], group["state"], group["last_error"]
        if state == "paused":
            self._say(f"group {name} is paused, and run {self._id} waits for it: tako-lite resume {name}")
        elif state == "unhealthy" or (state == "backoff" and error and _IN_VAIN.search(error)):
            hint = f"run {self._id} stays in the queue; fix the group, then `tako-lite resume {name}`"
            raise GroupFailed(f"group {name} cannot start: {error}", hint=hint)
        elif state == "backoff":
            self._say(f"group {name} failed to start and is being retried: {error}")

    def _say(self, text: str) -> None:
        """A warning, once."""
        if text not in self._said:
            self._said.add(text)
            note(f"warning: {text}")
