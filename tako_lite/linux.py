"""Processes, sessions and file watches on Linux. On other systems the answers are empty."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

ON_LINUX: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
IN_IGNORED: Final = 0x8000
"""The flag of the last event of a watch: see inotify(7)."""
_IN_MOVED_FROM, _IN_MOVED_TO, _IN_DELETE, _IN_DELETE_SELF, _IN_MOVE_SELF = 0x40, 0x80, 0x200, 0x400, 0x800
_IN_CLOSE_WRITE, _IN_CREATE = 0x8, 0x100
_ARGUMENTS_END = 46
"""The place of `arg_end` in /proc/PID/stat, counted from the state."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One line of /proc: `started` is in clock ticks since the boot, `cpu` in seconds."""

    pid: int
    state: str
    session: int
    cpu: float
    started: int
    parent: int


def become_subreaper() -> None:
    """Make orphans below this process its children, instead of those of init."""
    if ON_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent ends, even if that is killed; 0 is none."""
    if ON_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show for this process; the kernel keeps 15 bytes."""
    if ON_LINUX:
        with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as file:  # noqa: PTH123 -- at each fork
            file.write(name.encode()[:15])


def cut_command_line(end: int) -> None:
    """Remove so many bytes from the end of the command line that `ps` shows for this process.

    Otherwise a process that was forked would look like the one that it was forked from.
    """
    if ON_LINUX and end:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        after = int(fields[_ARGUMENTS_END])
        if after > end:  # some sandboxes show no addresses
            ctypes.memset(after - end, 0, end)


def watch_names(folder: Path) -> int | None:
    """A descriptor that becomes readable when a name in a folder is removed or replaced: see inotify(7).

    None on a system without inotify, or if its limit of watches is reached.
    """
    if not ON_LINUX:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    watch = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    events = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE | _IN_DELETE_SELF | _IN_MOVE_SELF
    if watch >= 0 and libc.inotify_add_watch(watch, os.fsencode(folder), events) < 0:
        os.close(watch)
        return None
    return watch if watch >= 0 else None


def watch_changes(folders: Iterable[Path]) -> int | None:
    """A descriptor that becomes readable when a file directly in one of these folders is written, added or removed.

    None on a system without inotify, or if one of its limits is reached.
    """
    if not ON_LINUX:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    watch = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    events = _IN_CLOSE_WRITE | _IN_CREATE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE
    for folder in folders if watch >= 0 else ():
        if libc.inotify_add_watch(watch, os.fsencode(folder), events) < 0 and ctypes.get_errno() == errno.ENOSPC:
            os.close(watch)
            return None
    return watch if watch >= 0 else None


def dump_no_core() -> None:
    """Forbid core dumps of this process and its children, whatever limits are set later."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_memory_private() -> None:
    """Hide the memory and the environment of this process from other processes of the same user; forbid core dumps too.

    Programs that it starts are not protected. Where /proc is mounted with `hidepid`, nothing is done: the daemon and its
    workers could no longer see each other there.
    """
    if ON_LINUX and not _proc_hides():
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _proc_hides() -> bool:
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return True
    return any(mount[1] == "/proc" and "hidepid=" in mount[3] for mount in mounts)


def boottime() -> float:
    """Seconds since the machine started, counting those for which it was suspended; not affected by setting the clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def boot_id() -> str:
    """The id of this boot of the machine: pids and start times of another boot are meaningless."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_process(pid: int) -> Process | None:
    """What /proc shows for a process; None if it is gone or cannot be read."""
    try:
        return _read(pid)
    except OSError:
        return None


def _read(pid: int) -> Process | None:
    """The same, but raises OSError if /proc cannot be read, for want of a descriptor: the process may still be there."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        fields = stat[stat.rindex(b")") + 2 :].split()
        cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        return Process(pid, fields[0].decode(), int(fields[3]), cpu, int(fields[19]), int(fields[1]))
    except (ValueError, IndexError):
        raise OSError(errno.EIO, "not what Linux says of a process", f"/proc/{pid}/stat") from None


def resident_bytes(pid: int) -> int | None:
    """The resident memory of a process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


def listener_name(connected: socket.socket) -> str | None:
    """The name of the process that listens at the other end of a Unix socket; None if it is not known."""
    if not ON_LINUX:
        return None
    pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def listening_process(port: int) -> tuple[int, str] | None:
    """The pid and the name of a process that listens on a TCP port; None if there is none that this user may see."""
    inodes = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _listening_inodes(Path("/proc/net") / name, port)}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in inodes for link in (entry / "fd").iterdir()):
                return int(entry.name), (entry / "comm").read_text().strip()
    return None


def _listening_inodes(table: Path, port: int) -> list[str]:
    """The inodes of the sockets that listen on a port, in a table such as /proc/net/tcp."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    listening = "0A"
    return [row[9] for row in rows if row[3] == listening and int(row[1].rpartition(":")[2], 16) == port]


def session_members(session: int) -> list[Process]:
    """The processes of a session, without zombies. Raises OSError if /proc cannot be read."""
    if not ON_LINUX:
        return []
    names = os.listdir("/proc")  # noqa: PTH208 -- a Path for each process would cost more than the read
    found = (_read(int(name)) for name in names if name.isdigit())
    return [process for process in found if process and process.session == session and process.state not in "ZX"]


def dead_child() -> int | None:
    """The pid of a child that is dead and not collected yet, or None; this does not collect it."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def children() -> list[int]:
    """The children of this process, with the dead ones that are not collected yet."""
    try:
        lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
    except OSError:  # a kernel without these files
        names = os.listdir("/proc")  # noqa: PTH208 -- as above
        found = (read_process(int(name)) for name in names if name.isdigit())
        return [process.pid for process in found if process and process.parent == os.getpid()]
    return [int(pid) for text in lists for pid in text.split()]


def kill_session(session: int, *, limit: float = 5.0) -> bool:
    """SIGKILL everything in a session until it is empty; False if something is left after `limit` seconds.

    The session's own process group is killed first, by one signal; without /proc, only that one is.
    """
    give_up = time.monotonic() + limit
    while True:
        _kill(os.killpg, session)
        members = session_members(session)
        if not members:
            return True
        for member in members:
            _kill(os.kill, member.pid)
        if time.monotonic() > give_up:
            return False
        time.sleep(0.002)


def _kill(function: object, target: int) -> None:
    try:
        function(target, signal.SIGKILL)  # type: ignore[operator]
    except (ProcessLookupError, PermissionError):
        return
