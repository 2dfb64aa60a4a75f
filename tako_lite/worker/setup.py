"""Finds the functions that the settings `setup` and `teardown` of a group name, and calls `setup`."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from tako_lite.worker.loader import CannotImport, Loader
from tako_lite.worker.loop import choose_loop


def set_up(entry: str, loader: Loader, offered: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Call the function `package.module:function`; returns the loop that is offered to the modules of the group.

    A coroutine runs on that loop, on which the handlers run too, unless a module chooses another one. Context variables that
    it sets stay set. Raises CannotImport with the file and line of what failed.
    """
    function = find_function("setup", entry, loader)
    try:
        returned = function()
        loop = choose_loop(offered)  # it may have installed a policy, such as that of uvloop
        if inspect.iscoroutine(returned):
            _complete(returned, loop)
        return loop
    except BaseException as error:  # sys.exit too: the worker ends in order, and reports why
        raise CannotImport(f"setup {entry}: {loader.describe(error)}") from error


def find_function(setting: str, entry: str, loader: Loader) -> Callable[[], Any]:
    """The function `package.module:function`. Raises CannotImport with the file and line of what failed."""
    module, _, name = entry.partition(":")
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module), name)
    except BaseException as error:
        raise CannotImport(f"{setting} {entry}: {loader.describe(error)}") from error
    return function


def _complete(coroutine: Coroutine[Any, Any, object], loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    loop.run_until_complete(loop.create_task(coroutine, context=context))
    for variable, value in context.items():
        if variable.get(context) is not value:
            variable.set(value)
