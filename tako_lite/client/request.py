"""A command for the daemon, and its line on the socket. Who only asks imports nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako_lite.wire import decode_value, encode_value


class Request:
    """A command with its arguments; payloads are kept apart, as JSON text. Raises BadInput for values that are not JSON.

    `made_id` if this client made the id of the new run, so no other client can have enqueued it before.
    """

    def __init__(
        self, command: str, arguments: Mapping[str, Any], texts: list[str] | None = None, *, made_id: bool = False
    ) -> None:
        self.command = command
        self.arguments = {key: value for key, value in arguments.items() if value is not None}
        self.texts = texts
        self.made_id = made_id
        self.source: str | None = None
        """What the client calls itself in the activity; None for programs that do not say."""
        self._head = encode_value({"command": command, **self.arguments}, command)

    @property
    def _key(self) -> str:
        return "payloads" if self.command == "enqueue_many" else "payload"

    @property
    def _text(self) -> str:
        texts = self.texts or []
        return f"[{','.join(texts)}]" if self.command == "enqueue_many" else texts[0]

    def frame(self, number: int, *, names_source: bool = False) -> bytes:
        """The request as a line. Payloads are inserted as JSON text, without encoding them again.

        A daemon of an older release refuses a request that names its source.
        """
        payload = "" if self.texts is None else f',"{self._key}":{self._text}'
        by = "" if self.source is None or not names_source else f',"by":{{"source":"{self.source}"}}'
        return f'{{"id":{number},{self._head[1:-1]}{by}{payload}}}\n'.encode()

    def whole(self) -> dict[str, Any]:
        """All arguments as the values that a reader of the frame decodes: a tuple is a list."""
        arguments: dict[str, Any] = decode_value(self._head)
        del arguments["command"]
        return arguments if self.texts is None else {**arguments, self._key: decode_value(self._text)}

    def settle(self, answer: dict[str, Any], repeated: bool) -> dict[str, Any]:
        """The answer; `deduplicated` is False if an earlier attempt of this same request stored the run."""
        if repeated and self.made_id and answer.get("id") == self.arguments["run_id"]:
            return {**answer, "deduplicated": False}
        return answer
