"""Collects values and mistakes while the tables of a document are read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from tako_lite.config import values
from tako_lite.config.document import Document
from tako_lite.config.settings import SETTINGS, TablePath, label
from tako_lite.config.values import Reader, shown_name
from tako_lite.errors import BadInput, Mistake
from tako_lite.hints import did_you_mean

_HIDDEN: Final = "…"

if TYPE_CHECKING:
    from tako_lite.config.positions import KeyPath


class Collector:
    """Reads the values of tables. An invalid value becomes a mistake, and reading continues."""

    def __init__(self, document: Document | None) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []

    def value(self, path: KeyPath, table: dict[str, Any], key: str, read: Reader) -> Any:
        """Read the value of a key. Returns None if the key is absent or its value invalid."""
        if key not in table:
            return None
        try:
            return read(table[key])
        except BadInput as error:
            hint = _environment_hint(path, key) or error.hint
            self.wrong((*path, key), f"{shown_name(key)}: {error.message}", hint)
            return None

    def entries(self, path: KeyPath, value: Any, entry: Callable[[str], Reader]) -> dict[str, Any]:
        """Read a table whose keys are names. `entry` returns the reader for a name."""
        read: dict[str, Any] = {}
        for name, inner in self.table(path, value).items():
            try:
                reader = entry(name)
            except BadInput as error:
                hint = _environment_hint(path, name) or error.hint
                self.wrong((*path, name), f"{shown_name(name)}: {error.message}", hint, at_key=True)
                continue
            before = len(self.mistakes)
            setting = self.value(path, {name: inner}, name, reader)
            if len(self.mistakes) == before:
                read[name] = setting
        return read

    def names(self, path: KeyPath, value: Any, read: Reader) -> tuple[str, ...]:
        """Read an array of names, each with a reader. Duplicates are removed."""
        key = shown_name(str(path[-1]))
        if not isinstance(value, list):
            self.wrong(path, f"{key}: must be an array of names, not {values.kind(value)}", 'write ["NAME", "OTHER_NAME"]')
            return ()
        found = []
        for index, name in enumerate(value):
            try:
                found.append(read(name))
            except BadInput as error:
                self.wrong((*path, index), f"{key}: {error.message}", error.hint)
        return tuple(dict.fromkeys(found))

    def table(self, path: KeyPath, value: Any) -> dict[str, Any]:
        """Return the value if it is a table. Otherwise report a mistake and return an empty table."""
        if isinstance(value, dict):
            return value
        name = shown_name(str(path[-1]))
        if isinstance(value, list) and value and isinstance(value[0], dict):
            self.wrong(path, f"{name}: must be one table, not an array of tables", "write one pair of brackets")
        else:
            self.wrong(path, f"{name}: must be a table, not {values.kind(value)}")
        return {}

    def unknown(self, path: TablePath, known: Collection[str], *, otherwise: str | None = None) -> None:
        """Report an unknown key."""
        key = path[-1]
        where = f" in {label(path[:-1])}" if len(path) > 1 else ""
        hint = did_you_mean(key, known) or otherwise
        if hint is None and (setting := did_you_mean(key, SETTINGS)):
            hint = f"{setting} It belongs in [workflows] or in a group's table"
        hint = hint or f"known keys: {', '.join(known)}"
        self.wrong(path, f"unknown key {shown_name(key)}{where}", hint, at_key=True)

    def without_value(self, path: KeyPath, mistake: Mistake) -> Mistake:
        """The same mistake, without the value under a path: it may be a secret."""
        assert self.document is not None  # noqa: S101 -- without one there is no mistake
        value = self.document.mistake(path, "")
        return mistake._replace(source=mistake.source[: value.column - 1] + _HIDDEN)

    def wrong(self, path: KeyPath, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        """Report a mistake at the value of a path, or at its key."""
        if self.document is not None:  # the built-in defaults have no mistakes
            self.mistakes.append(self.document.mistake(path, message, hint, at_key=at_key))


def _environment_hint(path: KeyPath, key: str) -> str | None:
    """The hint for `[workflows.env]` and `[workflows.limits]`, if a group was probably intended."""
    if key not in SETTINGS or path[-2:] not in (("workflows", "env"), ("workflows", "limits")):
        return None
    return f"`{path[-1]}` is a setting that every group inherits; a group needs another name"
