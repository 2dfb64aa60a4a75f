"""Values on their way into the queue and out of it: what is no JSON is made JSON, and read again as what it was."""

from __future__ import annotations

from typing import Any, Final

from tako_lite.errors import BadInput, NotJson, StepError
from tako_lite.typed import Reader, plain, read_by
from tako_lite.typed.annotations import compiled
from tako_lite.typed.arrival import changed
from tako_lite.wire import decode_value, encode_value


def value_text(value: object, what: str) -> str:
    """A value's JSON text; dataclasses, models, times and the like are made plain. Raises NotJson, TooLarge."""
    try:
        return encode_value(value, what)  # most values are plain already
    except NotJson:
        return encode_value(plain(value, what), what)


def stored_form(value: object, what: str) -> tuple[str, Any]:
    """The JSON text of a value, and what a later attempt reads of it: a tuple comes back as a list."""
    text = value_text(value, what)
    return text, value if value is None or value.__class__ in _SCALARS else decode_value(text)


def payload_text(payload: object, annotation: Any, what: str) -> str:
    """The JSON text of a payload for a handler whose parameter has this annotation.

    Raises BadInput, which names the field, where the handler could not read it, or would read something else.
    """
    text = value_text(payload, what)
    try:
        reader = compiled(annotation)
    except BadInput:
        return text  # the worker fails to load the handler, of which the reply to the enqueue warns
    read = read_by(reader, decode_value(text), what)
    if problem := changed(payload, read, what):
        raise BadInput(problem, hint=_CHANGED_HINT)
    return text


def returned_as(returns: Any, name: str) -> Reader:
    """The reader for the `returns` of a step. Raises StepError for what JSON cannot mean."""
    try:
        return compiled(returns)
    except BadInput as error:
        raise StepError(f"step {name!r}: returns: {error.message}", hint=error.hint) from None


def read_stored(reader: Reader | None, value: Any, name: str) -> Any:
    """What is stored of a step, as its type. Raises StepError, which names the step, where it does not fit."""
    if reader is None:
        return value
    try:
        return read_by(reader, value, "its value")
    except BadInput as error:
        raise StepError(
            f"step {name!r}: what is stored does not fit {reader.expected}: {error.message}",
            hint="correct the return annotation of its function, or give the step returns=…, then retry the run",
        ) from None


_CHANGED_HINT: Final = "tell records apart by a field, such as a Literal; have bytes written in the form in which they are read"
_SCALARS: Final = frozenset({str, int, float, bool})
