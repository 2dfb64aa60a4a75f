"""The daemon as its project sees it: the lock, the socket, and how soon it answers."""

from __future__ import annotations

import stat
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tako_lite import __version__
from tako_lite.cli.checks.finding import CheckContext, Finding, quoted
from tako_lite.client.connection import Connection, answer_of
from tako_lite.client.requests import Request
from tako_lite.config.files import SOCKET_NAME
from tako_lite.lock import FileLock, daemon_lock, is_in_the_way, queue_lock, write_lock
from tako_lite.names import printable
from tako_lite.units import duration_text

PATIENCE: Final = 5.0
"""Seconds in which a daemon that is well has answered."""
ROUNDS: Final = 20
PAUSE: Final = 0.01
"""Seconds between two rounds, so that they see more than one moment."""
SLOW_MEDIAN: Final = 0.05
SLOW_WORST: Final = 0.25


def lock(context: CheckContext) -> Iterator[Finding]:
    """Whether the daemon's lock and socket are those of a daemon that lives, or only what an earlier one left."""
    socket = context.state_dir / SOCKET_NAME
    blocked = socket.exists() and not stat.S_ISSOCK(socket.stat().st_mode)
    if blocked:
        mend = f"mv {quoted(socket)} {quoted(socket.with_suffix('.old'))}"
        yield Finding("socket", "problem", f"{socket} is in the way: it is not a socket, and serve cannot make one", mend)
    answers = not blocked and _answers(context)
    if socket.exists() and not (blocked or answers or context.has_daemon):
        yield Finding("socket", "info", f"{socket} was left by a daemon that was killed: harmless, the next serve replaces it")
    for path in _in_the_way(context):
        what = f"{path} is in the way: it is not a file, and serve needs a lock there"
        yield Finding("lock", "problem", what, f"mv {quoted(path)} {quoted(path.with_name(path.name + '.old'))}")
    yield _judge_lock(context, answers)


def _in_the_way(context: CheckContext) -> list[Path]:
    """Names of locks that something else has, such as a folder, or a link that leads nowhere."""
    paths = [lock.path for lock in (daemon_lock(context.state_dir), queue_lock(context.queue), write_lock(context.queue))]
    return [path for path in paths if is_in_the_way(path) or (path.is_symlink() and not path.exists())]


def _judge_lock(context: CheckContext, answers: bool) -> Finding:
    pid = _lock(context).pid
    if (other := context.project.other_holder()) is not None:
        who = f"pid {other.pid} on {other.server}, from {other.root}"
        remedy = f"cd {quoted(Path(other.root))}; serve does not start here before that daemon ends"
        return Finding("lock", "info", f"a daemon of another folder serves the queue {context.queue}: {who}", remedy)
    if daemon_lock(context.state_dir).is_held():
        return Finding("lock", "ok", "a daemon holds daemon.lock" + (f", pid {pid}" if pid else ""))
    if answers:
        keeps_out = (
            ", and only the lock of the queue keeps a second one out"
            if context.project.has_daemon()
            else ": a second one could start"
        )
        what = f"a daemon answers but does not hold daemon.lock, as if the file had been removed{keeps_out}"
        return Finding("lock", "problem", what, "stop the daemon, then tako-lite serve")
    if pid:
        what = f"daemon.lock has the pid {pid} of a daemon that is gone, and nobody holds the lock: harmless"
        return Finding("lock", "info", what)
    return Finding("lock", "ok", "nobody holds daemon.lock")


def daemon(context: CheckContext) -> Iterator[Finding]:
    """Whether the daemon answers, is of our release, and how long its loop lets a question wait."""
    connection = context.project.connect()
    if connection is None:
        yield _silent(context)
        return
    with closing(connection):
        connection.socket.settimeout(PATIENCE)
        try:
            context.project.check(_greeting(connection), "status")
            status = _ask(connection, "status")
            about = status["daemon"]
            waits = [_round(connection) for _ in range(ROUNDS)]
        except TimeoutError:
            yield _stuck(context)
            return
    pid = _lock(context).killable_pid()
    yield _judge_release(about["version"], about["pid"], pid)
    yield judge_lag(waits, pid)
    yield from judge_groups(status["groups"])


def judge_groups(groups: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    """What the states of worker groups say."""
    for group in groups:
        name, state = group["name"], group["state"]
        if state in ("backoff", "unhealthy"):
            error = printable(str(group["last_error"]))
            yield Finding("groups", "problem", f"{name} is {state}: {error}", f"mend that, then tako-lite resume {name}")
        elif state == "paused":
            yield Finding("groups", "info", f"{name} is paused", f"tako-lite resume {name}")


def _judge_release(version: str, pid: int, killable: int | None) -> Finding:
    if version == __version__:
        return Finding("daemon", "ok", f"pid {pid}, version {version}")
    what = f"the daemon is version {version} and this command {__version__}"
    stop = "stop it where it runs" if killable is None else f"kill {killable}"
    return Finding("daemon", "warning", what, f"start it again: {stop}, then tako-lite serve")


def judge_lag(waits: list[float], pid: int | None) -> Finding:
    """What the seconds of some round trips say of the daemon's loop."""
    median, worst = statistics.median(waits), max(waits)
    says = f"{len(waits)} round trips to the daemon: median {median * 1000:.1f} ms, worst {worst * 1000:.1f} ms"
    if median < SLOW_MEDIAN and worst < SLOW_WORST:
        return Finding("lag", "ok", says)
    mend = f"top{f' -p {pid}' if pid else ''} shows whether the daemon itself or others use the processor"
    return Finding("lag", "warning", f"{says}: its loop is held up, and with it every start of a run", mend)


def _silent(context: CheckContext) -> Finding:
    """Nobody is at the socket."""
    if not context.has_daemon:
        return Finding("daemon", "info", "no daemon is running: work is stored, and waits", "tako-lite serve")
    what = "a daemon holds the lock, but it does not answer on its socket: it starts or stops, or the socket was removed"
    mend = f"look again in 10 s; if it stays so: {_signal(context, 'HUP')} has it make the socket anew"
    return Finding("daemon", "warning", what, mend)


def _stuck(context: CheckContext) -> Finding:
    what = f"the daemon does not answer within {duration_text(PATIENCE)}"
    resume, end = _signal(context, "CONT"), _signal(context, "KILL")
    mend = f"{resume} if it was stopped; else {end}, then tako-lite serve: no run is lost or charged"
    return Finding("daemon", "problem", what, mend)


def _signal(context: CheckContext, name: str) -> str:
    """The command that sends a signal to the daemon; its pid means another process where it is of another namespace."""
    pid = _lock(context).killable_pid()
    return f"kill -{name} PID, in the container that it runs in," if pid is None else f"kill -{name} {pid}"


def _lock(context: CheckContext) -> FileLock:
    """The lock of the daemon that serves the queue; where none does, that of this folder."""
    return context.project.lock() or daemon_lock(context.state_dir)


def _answers(context: CheckContext) -> bool:
    connection = context.project.connect()
    if connection is not None:
        connection.close()
    return connection is not None


def _round(connection: Connection) -> float:
    """The seconds of one question that the daemon answers from its memory."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    _ask(connection, "schedules")
    return time.perf_counter() - start


def _greeting(connection: Connection) -> dict[str, Any]:
    while (hello := connection.hello()) is None:
        connection.feed(connection.socket.recv(65536))
    return hello


def _ask(connection: Connection, command: str) -> dict[str, Any]:
    connection.socket.sendall(connection.frame(Request(command, {})))
    while (frame := connection.reply()) is None:
        connection.feed(connection.socket.recv(65536))
    return answer_of(frame)
