"""Processes that a handler forked: they share the worker's memory and descriptors, and must not act as the worker."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import NoReturn

_forked = False


class Connections:
    """The sockets that a fork closes, so that it can neither send nor receive for the worker."""

    def __init__(self, *sockets: int) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._sockets = sockets
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        global _forked
        if _forked:
            return  # its parent has closed them: the numbers may belong to other files by now
        _forked = True
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._sockets:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        selector = getattr(self.loop, "_selector", None)  # of asyncio's own loops; the kernel's part of it is the parent's too
        if selector is not None:
            selector.close()


def is_fork() -> bool:
    """Whether this process was forked by a handler or by a file that was imported."""
    return _forked


def end_fork(error: BaseException | None = None) -> NoReturn:
    """End a fork that left the handler: with the code of its `sys.exit`, else with a message that it must end itself."""
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        sys.stderr.write("a process that a handler forked returned into the handler and was ended; end it with os._exit()\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a handler may have replaced them
            stream.flush()
    os._exit(code)
