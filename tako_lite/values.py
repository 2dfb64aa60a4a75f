"""Converts values to the JSON text that the queue stores, and reads them back as their types."""

from __future__ import annotations

from typing import Any, Final

from tako_lite.errors import BadInput, NotJson, StepError, TooLarge
from tako_lite.typed import Reader, plain, read_by
from tako_lite.typed.annotations import compiled
from tako_lite.typed.arrival import changed
from tako_lite.wire import decode_value, encode_value


def value_text(value: object, what: str) -> str:
    """The JSON text of a value; dataclasses, models, times and the like become plain values. Raises NotJson, TooLarge."""
    try:
        return encode_value(value, what)  # most values are plain already
    except NotJson:
        return encode_value(plain(value, what), what)


def stored_form(value: Any, step: str) -> tuple[str, Any]:
    """The JSON text of a step's value, and the value that a later attempt reads from it: a tuple comes back as a list.

    Raises NotJson and TooLarge, which name the step.
    """
    if value is None:
        return "null", None
    try:
        text = encode_value(value)
    except (NotJson, TooLarge) as error:
        what = f"the value of step {step!r}"
        text = encode_value(plain(value, what) if isinstance(error, NotJson) else value, what)
    if value.__class__ in _SCALARS:
        return text, value
    if value.__class__ is dict and _TEXT.issuperset(map(type, value)) and _LEAVES.issuperset(map(type, value.values())):
        return text, value.copy()  # an object of scalars: decoding its text would make the same, in twice the time
    return text, decode_value(text)


def payload_text(payload: object, annotation: Any, what: str) -> str:
    """The JSON text of a payload for a handler whose parameter has this annotation.

    Raises BadInput, which names the field, if the handler could not read the payload or would read another value.
    """
    text = value_text(payload, what)
    try:
        reader = compiled(annotation)
    except BadInput:
        return text  # the worker fails to load this handler, and the reply to the enqueue has a warning
    read = read_by(reader, decode_value(text), what)
    if problem := changed(payload, read, what):
        raise BadInput(problem, hint=_CHANGED_HINT)
    return text


def returned_as(returns: Any, name: str) -> Reader:
    """The reader for the `returns` of a step. Raises StepError for a type that JSON cannot represent."""
    try:
        return compiled(returns)
    except BadInput as error:
        raise StepError(f"step {name!r}: returns: {error.message}", hint=error.hint) from None


def read_stored(reader: Reader | None, value: Any, name: str) -> Any:
    """The stored value of a step, converted to its type. Raises StepError, which names the step, if it does not fit."""
    if reader is None:
        return value
    try:
        return read_by(reader, value, "its value")
    except BadInput as error:
        raise StepError(
            f"step {name!r}: the stored value does not fit {reader.expected}: {error.message}",
            hint="correct the return annotation of its function, or give the step returns=…, then retry the run",
        ) from None


_CHANGED_HINT: Final = "tell records apart by a field, such as a Literal; have bytes written in the form in which they are read"
_TEXT: Final = frozenset({str})
_SCALARS: Final = frozenset({str, int, float, bool})
_LEAVES: Final = _SCALARS | {type(None)}
