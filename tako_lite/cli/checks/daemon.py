"""Checks of the daemon: its lock, its socket, and how fast it answers."""

from __future__ import annotations

import stat
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tako_lite import __version__
from tako_lite.cli.asking import ask, greeting
from tako_lite.cli.checks.context import CheckContext
from tako_lite.client.connection import Connection
from tako_lite.config.files import SOCKET_NAME
from tako_lite.finding import Finding, quoted
from tako_lite.linux import listener_name
from tako_lite.lock import FileLock, daemon_lock, is_in_the_way
from tako_lite.names import printable
from tako_lite.units import duration_text

PATIENCE: Final = 5.0
"""Seconds within which a healthy daemon answers."""
ROUNDS: Final = 20
PAUSE: Final = 0.01
"""Seconds between two round trips, so that they sample a longer time."""
SLOW_MEDIAN: Final = 0.05
SLOW_WORST: Final = 0.25


def lock(context: CheckContext) -> Iterator[Finding]:
    """Whether the daemon's lock and socket belong to a running daemon or are left over from an earlier one."""
    socket = context.state_dir / SOCKET_NAME
    blocked = socket.exists() and not stat.S_ISSOCK(socket.stat().st_mode)
    if blocked:
        fix = f"mv {quoted(socket)} {quoted(socket.with_suffix('.old'))}"
        yield Finding("socket", "problem", f"{socket} is not a socket, so serve cannot create its socket there", fix)
    answers = not blocked and _answers(context)
    if answers is None:
        yield Finding("socket", "ok", f"systemd listens on {socket} and starts the daemon for the next client")
    elif socket.exists() and not (blocked or answers or context.has_daemon):
        yield Finding("socket", "info", f"{socket} was left behind by a killed daemon: harmless, the next serve replaces it")
    for path in _in_the_way(context):
        what = f"{path} is not a regular file, so serve cannot create its lock there"
        yield Finding("lock", "problem", what, f"mv {quoted(path)} {quoted(path.with_name(path.name + '.old'))}")
    yield _judge_lock(context, bool(answers))


def _in_the_way(context: CheckContext) -> list[Path]:
    """Lock paths that are taken by something else, such as a folder or a broken link."""
    paths = [lock.path for lock in (daemon_lock(context.state_dir), context.queue.serving_lock(), context.queue.write_lock())]
    return [path for path in paths if is_in_the_way(path) or (path.is_symlink() and not path.exists())]


def _judge_lock(context: CheckContext, answers: bool) -> Finding:
    pid = _lock(context).pid
    if (other := context.project.other_holder()) is not None:
        who = f"pid {other.pid} on {other.server}, from {other.root}"
        fix = f"cd {quoted(Path(other.root))}; serve can start here once that daemon has ended"
        return Finding("lock", "info", f"a daemon of another folder serves the queue {context.queue.address}: {who}", fix)
    if daemon_lock(context.state_dir).is_held():
        return Finding("lock", "ok", "a daemon holds daemon.lock" + (f", pid {pid}" if pid else ""))
    if answers:
        consequence = (
            ", and only the lock of the queue prevents a second daemon"
            if context.project.has_daemon()
            else ": a second daemon could start"
        )
        what = f"a daemon answers but does not hold daemon.lock, so the file was probably removed{consequence}"
        return Finding("lock", "problem", what, "stop the daemon, then tako-lite serve")
    if pid:
        what = f"daemon.lock contains the pid {pid} of a daemon that has ended, and is not locked: harmless"
        return Finding("lock", "info", what)
    return Finding("lock", "ok", "daemon.lock is not held")


def daemon(context: CheckContext) -> Iterator[Finding]:
    """Whether the daemon answers and is of this release, and how fast it answers."""
    connection = context.project.connect() if context.has_daemon else None  # connecting may start one
    if connection is None:
        yield _silent(context)
        return
    with closing(connection):
        connection.socket.settimeout(PATIENCE)
        try:
            context.project.check(greeting(connection), "status")
            status = ask(connection, "status")
            about = status["daemon"]
            waits = [_round(connection) for _ in range(ROUNDS)]
        except TimeoutError:
            yield _stuck(context)
            return
    pid = _lock(context).killable_pid()
    yield _judge_release(about["version"], about["pid"], pid)
    yield judge_lag(waits, pid)
    if (monitor := about.get("monitor")) is not None:
        yield _judge_monitor(monitor)
    yield from judge_groups(status["groups"])


def judge_groups(groups: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    """The findings about the states of worker groups."""
    for group in groups:
        name, state = group["name"], group["state"]
        if state in ("backoff", "unhealthy"):
            error = printable(str(group["last_error"]))
            then = "will be retried" if state == "backoff" else "is no longer retried"
            what = f"group {name} failed to start and {then}: {error}"
            yield Finding("groups", "problem", what, f"fix the error, then tako-lite resume {name}")
        elif state == "paused":
            yield Finding("groups", "info", f"group {name} is paused", f"tako-lite resume {name}")


def _judge_release(version: str, pid: int, killable: int | None) -> Finding:
    if version == __version__:
        return Finding("daemon", "ok", f"pid {pid}, version {version}")
    what = f"the daemon is version {version} and this command {__version__}"
    stop = "stop it in its container" if killable is None else f"kill {killable}"
    return Finding("daemon", "warning", what, f"restart it: {stop}, then tako-lite serve")


def _judge_monitor(monitor: dict[str, Any]) -> Finding:
    """The finding about the listener of `[monitor]`."""
    if monitor["error"] is None:
        return Finding("monitor", "ok", f"the daemon answers health checks and scrapes at {monitor['address']}")
    what = f"the daemon answers no health checks and scrapes: {printable(monitor['error'])}"
    return Finding("monitor", "problem", what, "free the address, or set another `listen` in [monitor]; then tako-lite reload")


def judge_lag(waits: list[float], pid: int | None) -> Finding:
    """The finding about the seconds that some round trips took."""
    median, worst = statistics.median(waits), max(waits)
    what = f"{len(waits)} round trips to the daemon: median {median * 1000:.1f} ms, worst {worst * 1000:.1f} ms"
    if median < SLOW_MEDIAN and worst < SLOW_WORST:
        return Finding("lag", "ok", what)
    fix = f"top{f' -p {pid}' if pid else ''} shows whether the daemon or another process uses the CPU"
    return Finding("lag", "warning", f"{what}: something delays the daemon, and with it every start of a run", fix)


def _silent(context: CheckContext) -> Finding:
    """The finding if nothing answers at the socket."""
    if not context.has_daemon:
        return Finding("daemon", "info", "no daemon is running: enqueued runs wait", "tako-lite serve")
    what = "a daemon holds the lock but does not answer on its socket: it is starting or stopping, or the socket was removed"
    fix = f"check again in 10 s; if nothing has changed, {_signal(context, 'HUP')} makes it create the socket again"
    return Finding("daemon", "warning", what, fix)


def _stuck(context: CheckContext) -> Finding:
    what = f"the daemon does not answer within {duration_text(PATIENCE)}"
    resume, end = _signal(context, "CONT"), _signal(context, "KILL")
    fix = f"{resume} if it is suspended; otherwise {end}, then tako-lite serve: no run is lost or charged an attempt"
    return Finding("daemon", "problem", what, fix)


def _signal(context: CheckContext, name: str) -> str:
    """The command that sends a signal to the daemon, without its pid if that belongs to another pid namespace."""
    pid = _lock(context).killable_pid()
    return f"kill -{name} PID, in its container," if pid is None else f"kill -{name} {pid}"


def _lock(context: CheckContext) -> FileLock:
    """The lock of the daemon that serves the queue; without one, the lock of this folder."""
    return context.project.lock() or daemon_lock(context.state_dir)


def _answers(context: CheckContext) -> bool | None:
    """Whether a daemon listens; None if systemd listens for one that is not running."""
    connection = context.project.connect()
    if connection is None:
        return False
    with closing(connection):
        return True if context.has_daemon or listener_name(connection.socket) != "systemd" else None


def _round(connection: Connection) -> float:
    """The seconds that a request takes which the daemon answers from memory."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    ask(connection, "schedules")
    return time.perf_counter() - start
