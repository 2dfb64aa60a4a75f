"""What the daemon asks of a fork server, and what that answers: JSON objects, one a line, over a socket pair.

The fork server sends `ReadyAnswer` once, then answers one request after another. The descriptors of a new worker come along
with the request to fork it: its link, its guard, its output, and for a worker with secrets one more.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict, final

WORKER_ENTRY: Final = "tako_lite.worker.main:main"
"""What a fork server imports, and calls in each worker."""


class WorkerTask(TypedDict):
    """What a worker needs at its start. `root` is the folder of tako.toml, `package` the workflows folder.

    `setup` and `teardown` are the functions to call first and last, as `package.module:function`. `beat` is the pause between
    two heartbeats and `drain` the time for its end, both in seconds. `withheld` has the names of the daemon's variables that
    the worker does not get, each with the name of the secret whose source it is, or an empty text.
    """

    group: str
    root: str
    package: str
    modules: list[str]
    setup: str | None
    teardown: str | None
    slots: int
    beat: float
    drain: float
    withheld: dict[str, str]


class ForkRequest(TypedDict):
    """Fork a worker, give the process these properties, and run the task in it; `limits` are those of setrlimit(2)."""

    op: Literal["fork"]
    name: str
    env: dict[str, str]
    folder: str
    nice: int
    limits: dict[str, int]
    umask: int
    task: WorkerTask


class ReapRequest(TypedDict):
    """Collect the status of a worker that is dead."""

    op: Literal["reap"]
    pid: int


class UntilRequest(TypedDict):
    """Kill every worker at this moment unless a later one is told before; in seconds of `linux.boottime`."""

    op: Literal["until"]
    at: float


class ReadyAnswer(TypedDict):
    """The fork server has started; `python` is the version of its interpreter."""

    ready: Literal[True]
    python: str


@final
class ForkedAnswer(TypedDict):
    """The pid of the new worker."""

    pid: int


@final
class FailedAnswer(TypedDict):
    """No worker was forked; the text says why."""

    error: str


class ReapedAnswer(TypedDict):
    """The exit code of the worker, or negative the signal that killed it; None if it was no child of the fork server."""

    status: int | None


class UntilAnswer(TypedDict):
    """The moment until which the workers may live."""

    until: float


ForkAnswer = ForkedAnswer | FailedAnswer
ServerAnswer = ReadyAnswer | ForkedAnswer | FailedAnswer | ReapedAnswer | UntilAnswer
