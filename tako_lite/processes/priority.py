"""The nice value of a worker, which holds against the processes of other sessions too.

Where Linux groups processes by session (`autogroup` in sched(7): the default of most distributions, for processes outside of a
cgroup with a processor controller), it first divides the processors among the sessions, all with the same weight. A nice value
then only counts within its session. Each worker leads a session of its own, so that session gets the worker's value as well.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

AUTOGROUP: Final = "/proc/self/autogroup"
PAUSE: Final = 0.1
"""Seconds: processes without CAP_SYS_ADMIN may set ten of these values a second, counted over the whole machine."""


def set_nice(increment: int) -> None:
    """Raise the nice value of this process and of its session. Raises PermissionError for a negative one without the right."""
    if increment:
        os.nice(increment)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice == 0:
        return
    try:
        descriptor = os.open(AUTOGROUP, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # another system, or a kernel without session groups
        return
    if _write(descriptor, nice):
        os.close(descriptor)
    else:
        threading.Thread(target=_write_later, args=(descriptor, nice), name="tako-nice", daemon=True).start()


def _write_later(descriptor: int, nice: int) -> None:
    while True:
        time.sleep(PAUSE)
        if _write(descriptor, nice):
            os.close(descriptor)
            return


def _write(descriptor: int, nice: int) -> bool:
    """Try to set the value of the session; False if other processes have used up the rate."""
    try:
        os.write(descriptor, b"%d" % nice)
    except BlockingIOError:
        return False
    except OSError:  # the group that all processes share if the kernel was booted with `noautogroup`
        return True
    return True
