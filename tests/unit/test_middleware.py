"""Functions around another one: their order, and what they cannot change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tako_lite.errors import HookFailed, Parked, Unwind
from tako_lite.middleware import call_through

Proceed = Callable[[], Awaitable[Any]]


def call(*hooks: Callable[[str, Proceed], object], raises: BaseException | None = None) -> tuple[Any, list[HookFailed]]:
    """The value of a core behind these hooks, and the failures that were reported."""
    failures: list[HookFailed] = []

    async def core() -> str:
        if raises is not None:
            raise raises
        return "value"

    return asyncio.run(_outcome(call_through(hooks, "about", core, failures.append))), failures


async def _outcome(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except BaseException as error:
        return error


async def observes(about: str, proceed: Proceed) -> object:
    return await proceed()


async def returns_another(about: str, proceed: Proceed) -> object:
    await proceed()
    return "another"


async def swallows(about: str, proceed: Proceed) -> object:
    try:
        return await proceed()
    except BaseException:
        return "all is well"


async def replaces(about: str, proceed: Proceed) -> object:
    try:
        return await proceed()
    except BaseException as error:
        raise LookupError("mine") from error


async def fails_before(about: str, proceed: Proceed) -> object:
    raise LookupError("mine")


async def fails_after(about: str, proceed: Proceed) -> object:
    await proceed()
    raise LookupError("mine")


async def exits(about: str, proceed: Proceed) -> object:
    raise SystemExit(3)


async def forgets(about: str, proceed: Proceed) -> object:
    return None


async def repeats(about: str, proceed: Proceed) -> object:
    await proceed()
    return await proceed()


def plain(about: str, proceed: Proceed) -> object:
    return proceed()


def test_hooks_run_in_the_order_of_their_registration_outermost_first() -> None:
    order: list[str] = []

    def named(name: str) -> Callable[[str, Proceed], object]:
        async def hook(about: str, proceed: Proceed) -> object:
            order.append(f"{name} before {about}")
            value = await proceed()
            order.append(f"{name} after {value}")
            return value

        return hook

    assert call(named("a"), named("b")) == ("value", [])
    assert order == ["a before about", "b before about", "b after value", "a after value"]


@pytest.mark.parametrize("hook", [observes, returns_another, swallows, plain])
def test_the_value_is_that_of_the_core(hook: Callable[[str, Proceed], object]) -> None:
    assert call(hook) == ("value", [])


@pytest.mark.parametrize("hook", [observes, swallows, replaces, plain])
@pytest.mark.parametrize("error", [ValueError("core"), Parked(), asyncio.CancelledError(), KeyboardInterrupt()])
def test_an_error_of_the_core_is_raised_whatever_a_hook_does_with_it(
    hook: Callable[[str, Proceed], object], error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    found, failures = call(hook, observes, raises=error)
    assert found is error
    assert failures == []
    assert ("LookupError: mine" in capsys.readouterr().err) == (hook is replaces)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (fails_before, "LookupError: mine"),
        (fails_after, "LookupError: mine"),
        (exits, "SystemExit: 3"),
        (forgets, "it returned before it had awaited proceed()"),
        (repeats, "RuntimeError: proceed() was awaited twice"),
    ],
)
def test_an_error_of_a_hook_is_a_failure_with_its_place(hook: Callable[[str, Proceed], object], said: str) -> None:
    found, failures = call(observes, hook, observes)
    assert isinstance(found, HookFailed)
    assert isinstance(found, Unwind)
    assert failures == [found]
    assert re.fullmatch(rf"hook {hook.__name__} at tests/unit/test_middleware\.py:\d+: {re.escape(said)}", str(found))
    line = int(str(found).split(":")[1])
    first = hook.__code__.co_firstlineno
    assert first <= line <= first + 4
    assert (line > first) == (hook is not forgets)
