"""The `@workflow` decorator, and the typed handle that it returns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from tako_lite.backoff import Backoff
from tako_lite.errors import BadInput, NoProject
from tako_lite.handle import WorkflowHandle
from tako_lite.options import DEFAULT_BACKOFF, CatchUp, Fallback, OnChangedSteps, OnLimit, name_problem, read_options, shown

if TYPE_CHECKING:
    from typing import Unpack

    from tako_lite.enqueue_options import ClientOptions, Duration
    from tako_lite.handle_types import TakesNothing, TakesPayload, TakesPayloadAndStep
    from tako_lite.records import Enqueued

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Workflow(WorkflowHandle[P, R_co]):
    """A workflow: its name, its options, its handler, and methods that enqueue it.

    Calling it calls the handler, as if it were not decorated. There is no registry: a worker finds the workflows of a
    module in the namespace of the module.
    """

    # Type checkers (mypy and pyright) infer the type of the payload by matching `self` with the handler's signature.
    @overload
    def enqueue(self: TakesNothing[object], payload: None = None, **options: Unpack[ClientOptions]) -> Enqueued: ...
    @overload
    def enqueue(self: TakesPayload[T, object], payload: T, **options: Unpack[ClientOptions]) -> Enqueued: ...
    @overload
    def enqueue(self: TakesPayloadAndStep[T, object], payload: T, **options: Unpack[ClientOptions]) -> Enqueued: ...
    def enqueue(self, payload: Any = None, **options: Unpack[ClientOptions]) -> Enqueued:
        """Store a run of this workflow and return after the commit. The options are those of `Client.enqueue`.

        Raises BadInput for a payload that the handler could not read.
        """
        # Imported here so that a worker that enqueues nothing does not import the client when it starts.
        from tako_lite.client import default_client

        try:
            client = default_client()
        except NoProject as error:
            from tako_lite.client import client_at

            client = client_at(self._file(error))
        return client.enqueue(self, payload, **options)

    @overload
    async def aenqueue(self: TakesNothing[object], payload: None = None, **options: Unpack[ClientOptions]) -> Enqueued: ...
    @overload
    async def aenqueue(self: TakesPayload[T, object], payload: T, **options: Unpack[ClientOptions]) -> Enqueued: ...
    @overload
    async def aenqueue(self: TakesPayloadAndStep[T, object], payload: T, **options: Unpack[ClientOptions]) -> Enqueued: ...
    async def aenqueue(self, payload: Any = None, **options: Unpack[ClientOptions]) -> Enqueued:
        """The same from asyncio code."""
        # Imported here for the same reason as in `enqueue`.
        from tako_lite.client import default_async_client

        try:
            client = default_async_client()
        except NoProject as error:
            from tako_lite.client import async_client_at

            client = async_client_at(self._file(error))
        return await client.enqueue(self, payload, **options)

    def _file(self, error: NoProject) -> str:
        """The file of the handler: its folder names the project if the current folder has none. Raises the error if unknown."""
        from inspect import unwrap  # slow to import, and rarely needed

        code = getattr(unwrap(self.function), "__code__", None)
        if code is None:
            raise error
        return str(code.co_filename)


def workflow(
    name: str,
    *,
    worker: str = "default",
    retries: int = 2,
    backoff: Backoff = DEFAULT_BACKOFF,
    timeout: Duration | None = None,
    schedule: str | None = None,
    timezone: str = "UTC",
    catch_up: CatchUp = "latest",
    priority: int = 0,
    fallback: Fallback | None = None,
    limit: int | None = None,
    on_limit: OnLimit = "queue",
    limit_key: str | None = None,
    rate: str | None = None,
    rate_key: str | None = None,
    on_dead: str | Sequence[str] = (),
    on_unhealthy: str | Sequence[str] = (),
    on_changed_steps: OnChangedSteps = "warn",
) -> Callable[[Callable[P, R]], Workflow[P, R]]:
    """Make the decorated function a workflow. It runs in the group `worker`, which may be a template such as `"{tier}"`.

    Write every option as a literal: the daemon reads them from the source and never imports it. Raises BadInput for an
    invalid option.
    """
    if problem := name_problem(name):
        raise BadInput(problem.message, hint=problem.hint)
    options, problems = read_options(
        {
            "worker": worker,
            "retries": retries,
            "backoff": backoff,
            "timeout": timeout,
            "schedule": schedule,
            "timezone": timezone,
            "catch_up": catch_up,
            "priority": priority,
            "fallback": fallback,
            "limit": limit,
            "on_limit": on_limit,
            "limit_key": limit_key,
            "rate": rate,
            "rate_key": rate_key,
            "on_dead": on_dead,
            "on_unhealthy": on_unhealthy,
            "on_changed_steps": on_changed_steps,
        }
    )
    for problem in problems.values():
        raise BadInput(f"workflow {name}: {problem.message}", hint=problem.hint)

    def decorate(function: Callable[P, R]) -> Workflow[P, R]:
        if isinstance(function, WorkflowHandle) or not callable(function):
            raise BadInput(f"workflow {name}: @workflow is for a function, not {shown(function)}")
        made = Workflow(name, options, function)
        # Another decorator without functools.wraps leaves the name of its own module, and no worker looks for the handle there.
        made.__module__ = sys._getframe(1).f_globals.get("__name__", made.__module__)
        return made

    return decorate
