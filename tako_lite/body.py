"""Checks the function of a step before it is called, and finds the type that its value is read back as."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from inspect import CO_COROUTINE
from types import CoroutineType, FunctionType
from typing import Any, Final

from tako_lite.errors import StepError
from tako_lite.records import UNSTORED
from tako_lite.typed import Reader
from tako_lite.typed.functions import result_reader
from tako_lite.values import returned_as

AS_ANNOTATED: Final[Any] = object()
"""The default of `returns`: the annotation of the function decides."""


def check_call(name: str, function: Any, keywords: Mapping[str, Any]) -> None:
    """Raise StepError for an object that is not callable, and for an option that `step.run` does not have."""
    if not callable(function):
        raise _not_a_function(name, function)
    if keywords:
        called = getattr(function, "__name__", "function")
        given = ", ".join(f"{key}=…" for key in keywords)
        raise StepError(
            f"step {name!r}: {next(iter(keywords))} is not an option of step.run",
            hint=f"for keywords of the function: step.run({name!r}, functools.partial({called}, …, {given}))",
        )


def is_async(function: Any) -> bool:
    """Whether this is a coroutine function. `inspect` takes several times as long for the plain `async def`."""
    if function.__class__ is FunctionType and function.__code__.co_flags & CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(function)


def _not_a_function(name: str, given: Any) -> StepError:
    if isinstance(given, CoroutineType):
        given.close()  # otherwise Python warns that it was never awaited
        called, what = given.__name__, f"the coroutine of a call of {given.__name__}"
    else:
        called, what = "print", f"{given!r:.60}" if isinstance(given, str | int | float | None) else type(given).__name__
    example = f'step.run("{name}", {called}, …)' if called != "print" else f'step.run("{name}", print, "hi")'
    return StepError(
        f"step {name!r} was given {what} instead of a function", hint=f"give the function and its arguments: {example}"
    )


def reader_of(function: Any, returns: Any, name: str) -> Reader | None:
    """The reader for the value of a step, None where the value stays JSON. Raises StepError for an invalid `returns`."""
    return result_reader(function) if returns is AS_ANNOTATED else returned_as(returns, name)


def failure_text(type: str, message: str, *, has_run: bool) -> str:
    """The text to store for a failed try; `has_run` if the body returned and only its value could not be stored."""
    return json.dumps({"type": type, "message": message, **({UNSTORED: True} if has_run else {})})


def ran_before(failure: str | None) -> bool:
    """Whether the stored failure of a step shows that its body had run to its end."""
    return failure is not None and bool(json.loads(failure).get(UNSTORED))
