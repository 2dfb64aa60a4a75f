"""`serve`: the locks, the loop and the signals around a daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tako_lite.catalog import Catalog
from tako_lite.clock import SystemClock
from tako_lite.config import Config, load
from tako_lite.config.files import SOCKET_NAME
from tako_lite.daemon.daemon import Daemon
from tako_lite.daemon.events import Events
from tako_lite.daemon.idle_exit import IdleExit, forget_next_due
from tako_lite.daemon.inherited import inherited_sockets
from tako_lite.daemon.log_format import LogFormat, formatter
from tako_lite.daemon.log_handler import Journal, open_missing_streams
from tako_lite.daemon.service_manager import ServiceManager
from tako_lite.errors import AlreadyServing, BadInput, LeaseLost, StoreBusy, StoreUnreachable, TakoError
from tako_lite.linux import become_subreaper, keep_memory_private
from tako_lite.lock import FileLock, Holder, daemon_lock
from tako_lite.processes.forked_server import ForkedServer
from tako_lite.project_lint import read_catalog
from tako_lite.routing import DEFAULT, check_group

logger = logging.getLogger("tako_lite.daemon")

PROBE: Final = 0.5
"""Seconds for which a client that probes for a daemon may hold the daemon's lock."""
PAUSE_AFTER_LOSS: Final = 1.0
"""Seconds between the loss of a lease and the attempt to join again."""
PREDECESSOR: Final = 5.0
"""Seconds for which a daemon that was started for a client waits for the end of the one before."""
SHORT_WRITER: Final = 10.0
"""Seconds for which `serve` waits for a client that is writing to the queue file."""


def serve(
    config_path: Path | None,
    server: str | None = None,
    log_format: LogFormat = "auto",
    *,
    groups: tuple[str, ...] | None = None,
    verbose: bool = False,
    idle_exit: float | None = None,
    forked: ForkedServer | None = None,
) -> int:
    """Run the daemon of a project until a signal ends it; the exit code is 0. Raises TakoError where it cannot start.

    With `groups`, it serves only these. With `idle_exit`, it also ends after it was idle for so many seconds. `forked` is a
    fork server that this process forked.
    """
    open_missing_streams()
    manager, sockets = ServiceManager(os.environ), inherited_sockets(os.environ)
    config = load(config_path, server=server)
    catalog = read_catalog(config)
    if groups is not None:
        config = replace(config, served=served_groups(config, catalog, groups))
    sockets.check_control(config.state_dir / SOCKET_NAME)
    with hold_locks(config, PROBE if sockets.control is None else PREDECESSOR) as (locks, last):
        log_to(Journal(formatter(log_format, config.server, os.environ)))

        def make() -> Daemon:
            nonlocal forked
            daemon = Daemon(config, catalog, SystemClock(), Events(), locks, last, manager, sockets)
            if forked is not None:
                daemon.fork_servers.adopt(forked)
                forked = None  # a daemon that follows this one starts its own
            if verbose:
                daemon.narrate()
            return daemon

        run_until_signal(config, make, idle_exit)
    return 0


def run_until_signal(config: Config, make: Callable[[], Daemon], idle_exit: float | None = None) -> None:
    """Run the daemon that `make` returns until a signal ends it; the locks are held. Raises the error that ended it."""
    forget_next_due(config.state_dir)
    if config.state_dir.is_relative_to(config.root):
        _keep_out_of_git(config.state_dir)
    become_subreaper()
    if config.secrets:
        keep_memory_private()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(make, idle_exit))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop, where it is installed."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


def served_groups(config: Config, catalog: Catalog, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that `--groups` names. Raises NotFound for an unknown one, and BadInput where one server serves all."""
    if not config.queue.shared:
        hint = 'one daemon serves a queue file; [queue] url = "postgresql://…" lets several share a queue'
        raise BadInput("--groups needs a queue in PostgreSQL", hint=hint)
    for name in groups:
        check_group(name, {DEFAULT, *config.groups, *catalog.groups})
    return groups


@contextmanager
def hold_locks(config: Config, patience: float = PROBE) -> Iterator[tuple[Collection[FileLock], Holder | None]]:
    """Hold the locks of the folder, of the queue and of its writer; also yields which daemon served the queue before."""
    location = config.queue.location
    own, queue, writing = daemon_lock(config.state_dir), location.serving_lock(), location.write_lock()
    try:
        if not own.acquire(patience):
            raise _already_serving(own, f"another daemon serves this project (pid {own.pid})")
        own.write(f"{os.getpid()}\n")
        if not queue.acquire(patience):
            holder = Holder.parse(queue.read())
            where = f" from {holder.root}" if holder else ""
            raise _already_serving(queue, f"another daemon serves the queue {location}{where} (pid {queue.pid})")
        last = Holder.parse(queue.read())
        queue.write(str(_holder(config)))
        if not writing.acquire(SHORT_WRITER):
            raise StoreBusy(f"another program holds {writing.path}", hint=f"fuser {writing.path} names it")
        yield (own, queue, writing), last
    finally:
        for lock in (writing, queue, own):
            lock.release()


def _holder(config: Config) -> Holder:
    """The text of the queue lock, for clients of other folders. Paths are resolved: a symlink may be changed later."""
    state_dir = os.path.realpath(config.state_dir)
    return Holder(
        pid=os.getpid(),
        server=config.server,
        project=config.name,
        config=str(config.file) if config.file else None,
        root=os.path.realpath(config.root),
        state_dir=state_dir,
        socket=os.path.join(state_dir, SOCKET_NAME),  # noqa: PTH118
    )


def _already_serving(lock: FileLock, what: str) -> AlreadyServing:
    pid = lock.killable_pid()
    kill = f"; kill {pid} ends it" if pid is not None else ", and it runs in another container or pid namespace: stop it there"
    return AlreadyServing(what, hint=f"tako-lite status shows it{kill}")


def _keep_out_of_git(state_dir: Path) -> None:
    """Have git ignore the state folder."""
    with suppress(OSError):
        descriptor = os.open(state_dir / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("*\n")


def log_to(journal: logging.Handler) -> None:
    """Send the log of the daemon and of the event loop to a handler."""
    logging.raiseExceptions = False  # a log line that cannot be formatted must not stop the daemon
    for name in ("tako_lite", "asyncio"):
        logging.getLogger(name).addHandler(journal)
    logging.getLogger("tako_lite").setLevel(logging.INFO)


async def _serve(make: Callable[[], Daemon], idle_exit: float | None) -> None:
    """Serve until a signal or an error ends it. A daemon that lost its lease is followed by another one."""
    has_joined = False
    while True:
        try:
            if not await _serve_once(make, idle_exit):
                return
        except (StoreUnreachable, StoreBusy) as error:
            if not has_joined:
                raise
            logger.warning("cannot join again: %s", error.message)
        has_joined = True
        await asyncio.sleep(PAUSE_AFTER_LOSS)


async def _serve_once(make: Callable[[], Daemon], idle_exit: float | None) -> bool:
    """Serve with one daemon; returns whether it lost its lease, so that another one must join as a new server."""
    daemon = make()
    with _received(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        try:
            try:
                await daemon.start()
            except StoreBusy as error:  # another server holds what this one needs; it stands still, for example
                if not daemon.servers.has_joined:
                    raise
                logger.warning("cannot start yet: %s", error.message)
                return True
            fatal = await _until_stopped(signals, daemon, idle_exit)
            if fatal is not None:
                daemon.kill()
            await _until_first(daemon.stop(), _kill_at_signals(signals, daemon))
            if fatal is not None and not isinstance(fatal, LeaseLost):
                raise fatal
            return fatal is not None
        finally:
            await daemon.stop()


@contextmanager
def _received(*numbers: signal.Signals) -> Iterator[asyncio.Queue[signal.Signals]]:
    """While this holds, these signals come into a queue, and do nothing else."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in numbers:
        loop.add_signal_handler(number, queue.put_nowait, number)
    try:
        yield queue
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _until_first(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Execute coroutines side by side until the first one ends, and cancel the others. Raises what it raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


async def _until_stopped(signals: asyncio.Queue[signal.Signals], daemon: Daemon, idle_exit: float | None) -> TakoError | None:
    """Wait for a signal or a request that ends the daemon, or for a fatal error, and return that."""
    fatal: TakoError | None = None

    async def wait_for_error() -> None:
        nonlocal fatal
        fatal = await daemon.wait_fatal()
        daemon.events.fatal(fatal)
        daemon.manager.failed(fatal.message)

    async def request_when_idle() -> None:
        if idle_exit is not None:
            await IdleExit(daemon, idle_exit).watch()
        await asyncio.Event().wait()  # only the request ends the daemon

    async def wait_for_request() -> None:
        daemon.events.stopping(await daemon.ending.requested, "`tako-lite stop --now` kills the workers")

    async def wait_for_signal() -> None:
        while (number := await signals.get()) == signal.SIGHUP:
            await daemon.reload_and_say()
        daemon.events.stopping(number.name)

    await _until_first(wait_for_error(), request_when_idle(), wait_for_request(), wait_for_signal())
    return fatal


async def _kill_at_signals(signals: asyncio.Queue[signal.Signals], daemon: Daemon) -> None:
    while True:
        if await signals.get() != signal.SIGHUP:
            daemon.kill()
