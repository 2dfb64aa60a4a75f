"""Named SQL: `.sql` files cut into blocks at their `-- name:` lines."""

from __future__ import annotations

import re
from importlib.resources import files
from types import SimpleNamespace
from typing import Any, Final

_BLOCK: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_TOKEN: Final = re.compile(r"--[^\n]*|'[^']*'|(?<![:\w]):([a-z_]\w*)")
"""A comment, a literal, or a parameter."""


class Statement(str):
    """The text of one statement, with `:name` for each parameter."""

    __slots__ = ("_numbered",)
    _numbered: dict[type, str]

    def __new__(cls, text: str) -> Statement:
        made = super().__new__(cls, text)
        made._numbered = {}
        return made

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for name in _TOKEN.findall(self) if name))

    def numbered(self, row_type: type[Any]) -> str:
        """The text with `?1` for the first field of a NamedTuple, and so on: binding a tuple is faster than binding names.

        Raises ValueError where the fields are not the parameters.
        """
        text = self._numbered.get(row_type)
        if text is None:
            fields: tuple[str, ...] = row_type._fields
            if set(fields) != set(self.parameters):
                raise ValueError(f"the fields {fields} are not the parameters {self.parameters}")
            numbers = {field: number for number, field in enumerate(fields, 1)}
            text = _TOKEN.sub(lambda match: f"?{numbers[match[1]]}" if match[1] else match[0], self)
            self._numbered[row_type] = text
        return text


def load(package: str, name: str) -> SimpleNamespace:
    """The statements of `<package>/queries/<name>.sql`, an attribute each."""
    text = (files(package) / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _BLOCK.split(text)
    statements = (Statement(part.strip().removesuffix(";")) for part in parts[1::2])
    return SimpleNamespace(**dict(zip(parts[::2], statements, strict=True)))
