"""The base of a decorated workflow: its name, its options, its handler, and how its payload becomes JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from tako_lite.options import WorkflowOptions

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
_UNKNOWN: Final = object()
"""Marks an annotation that was not resolved yet."""


class WorkflowHandle(Generic[P, R_co]):
    """A workflow without the methods that enqueue it. `Workflow` adds those, because they need the client."""

    def __init__(self, name: str, options: WorkflowOptions, function: Callable[P, R_co]) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.options = options
        self.function = function
        self._annotation: Any = _UNKNOWN

    def __repr__(self) -> str:
        return f"<workflow {self.name} (group {self.options.worker})>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    def payload_text(self, payload: object, what: str = "payload") -> str:
        """The JSON text of a payload. Raises BadInput, which names the field, if the handler could not read the payload.

        Nothing is checked if the handler's annotation cannot be resolved, or is no type that JSON can carry.
        """
        # Imported here because a module that only defines workflows does not need it.
        from tako_lite.typed.functions import NOTHING, payload_annotation
        from tako_lite.values import payload_text, value_text

        if self._annotation is _UNKNOWN:
            self._annotation = payload_annotation(self.function)
        if self._annotation in (NOTHING, Any):
            return value_text(payload, what)
        return payload_text(payload, self._annotation, what)

    if not TYPE_CHECKING:  # a type checker would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            hint = "; use .enqueue()" if name in ("delay", "apply_async", "send", "perform_async", "queue", "defer") else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)
