"""Named SQL: `.sql` files cut into blocks at their `-- name:` lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_BLOCK: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_TOKEN: Final = re.compile(r"--[^\n]*|'[^']*'|(?<![:\w]):([a-z_]\w*)")
"""A comment, a literal, or a parameter."""


class Statement(str):
    """The text of one statement, with `:name` for each parameter."""

    __slots__ = ("_bound",)
    _bound: dict[type, Bound]

    def __new__(cls, text: str) -> Statement:
        made = super().__new__(cls, text)
        made._bound = {}
        return made

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for name in _TOKEN.findall(self) if name))

    def bound(self, row_type: type[Any]) -> Bound:
        """The text with `?` for each parameter, and what makes their values of a NamedTuple: faster than binding by name.

        `?1` would be shorter, but Python 3.12 warns of it. Raises ValueError where the fields are not the parameters.
        """
        bound = self._bound.get(row_type)
        if bound is None:
            fields: tuple[str, ...] = row_type._fields
            if set(fields) != set(self.parameters):
                raise ValueError(f"the fields {fields} are not the parameters {self.parameters}")
            places = [name for name in _TOKEN.findall(self) if name]
            text = _TOKEN.sub(lambda match: "?" if match[1] else match[0], self)
            in_order = tuple(places) == fields or len(places) == 1
            bound = Bound(text, None if in_order else itemgetter(*map(fields.index, places)))
            self._bound[row_type] = bound
        return bound


class Bound(NamedTuple):
    """A statement for the rows of one type; `values` makes its parameters of a row, None where they are the row itself."""

    text: str
    values: Callable[[Any], tuple[Any, ...]] | None


def replace_parameters(statement: str, by: str | Callable[[str], str]) -> str:
    """A statement whose parameters have another notation: `\\1` in `by` is the name, or `by` makes it of the name."""
    replace = (lambda match: by(match[1])) if callable(by) else (lambda match: match.expand(by))
    return _TOKEN.sub(lambda match: replace(match) if match[1] else match[0], statement)


def folder_of(package: str, name: str) -> Path | Traversable:
    """A folder of a package, whose files can be read."""
    file = import_module(package).__file__
    assert file is not None  # noqa: S101 -- a package with an __init__.py
    folder = Path(file).with_name(name)
    if folder.is_dir():
        return folder
    from importlib.resources import files  # only the single file needs it, and half a megabyte comes with it

    return files(package) / name


def load(package: str, name: str) -> SimpleNamespace:
    """The statements of `<package>/queries/<name>.sql`, an attribute each."""
    text = (folder_of(package, "queries") / f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _BLOCK.split(text)
    statements = (Statement(part.strip().removesuffix(";")) for part in parts[1::2])
    return SimpleNamespace(**dict(zip(parts[::2], statements, strict=True)))
