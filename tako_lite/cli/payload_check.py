"""The check of a payload against the annotation of its handler, as far as the source of the handler shows the type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tako_lite.errors import BadInput, TakoError

if TYPE_CHECKING:
    from tako_lite.client import Client

UNCHECKED: Final = ("Any", "typing.Any", "object")
"""Annotations that every payload fits."""
PLAIN: Final[dict[str, Any]] = {kind.__name__: kind for kind in (dict, list, str, int, float, bool)}
"""Annotations that mean the same in every file."""

Check = Callable[[Any], None]


def payload_check(client: Client, workflow: str, config: str | None) -> Check:
    """A function that raises BadInput, which names the field, for a payload that the handler could not read.

    It accepts everything if the source does not show what the handler takes: the enqueue, or the worker, says what is wrong.
    """
    try:
        found = next((one for one in client.call("workflows")["workflows"] if one["name"] == workflow), None)
    except TakoError:
        return _accept
    if found is None or found.get("payload") in (None, *UNCHECKED):
        return _accept
    from tako_lite.typed import converter  # here, because most commands have nothing to check

    try:
        read = converter(PLAIN.get(found["payload"]) or _annotation(found["file"], workflow, config))
    except (OSError, SyntaxError, ValueError, TakoError):  # `tako-lite check` reports it
        return _accept

    def check(payload: Any) -> None:
        try:
            read(payload)
        except BadInput as error:
            hint = f"{found['file']}:{found['line']}: {workflow} takes {found['payload']}"
            raise BadInput(error.message, hint=hint) from None

    return check


def _annotation(file: str, workflow: str, config: str | None) -> Any:
    """The type in the source of the handler. Raises OSError and SyntaxError."""
    from tako_lite.catalog.annotated import payload_annotation  # here, because it takes longer than all else that a check does
    from tako_lite.client.project import Project

    return payload_annotation((Project(config).root / file).read_bytes(), workflow)


def _accept(payload: Any) -> None: ...
