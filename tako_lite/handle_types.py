"""Workflows as type checkers see them, by what their handlers take: from these they infer the type of a payload.

Only annotations use them, so nothing imports this module at run time.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class NamedWorkflow(Protocol):
    """A handle, and not just any function."""

    @property
    def name(self) -> str: ...


class TakesNothing(NamedWorkflow, Protocol[R_co]):
    """A workflow whose handler takes neither a payload nor a step."""

    def __call__(self) -> R_co: ...


class TakesPayload(NamedWorkflow, Protocol[T_contra, R_co]):
    """A workflow whose handler takes a payload."""

    def __call__(self, payload: T_contra, /) -> R_co: ...


class TakesPayloadAndStep(NamedWorkflow, Protocol[T_contra, R_co]):
    """A workflow whose handler takes a payload and a step."""

    def __call__(self, payload: T_contra, step: Any, /) -> R_co: ...
