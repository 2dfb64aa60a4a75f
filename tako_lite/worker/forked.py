"""Processes that a handler forked: they have the worker's memory, and must not act as the worker."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import NoReturn

_forked = False


class Connections:
    """What a fork lets go of: it can neither speak nor listen for the worker, and ends if it gets into the worker's loop."""

    def __init__(self, *sockets: int) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._sockets = sockets
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        global _forked
        if _forked:
            return  # its parent had let go before: the numbers may be those of other files by now
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
    """End a fork that came back from the code that made it: by its `sys.exit`, or with a word of what is wrong with that."""
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        sys.stderr.write("a process that a handler forked went on with the handler, and was ended: let it end itself\n")
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # whatever a handler made of them
            stream.flush()
    os._exit(code)
