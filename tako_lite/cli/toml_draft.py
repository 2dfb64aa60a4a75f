"""A new text for tako.toml: shown as a diff, validated, and written over the old one."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tako_lite.cli.rewriting import rewrite
from tako_lite.config import Config, load, load_text
from tako_lite.config.document import shown
from tako_lite.config.toml_edit import with_setting, with_table
from tako_lite.errors import BadInput
from tako_lite.project_lint import read_catalog
from tako_lite.routing import unknown_group

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog

TextEdit = Callable[[str], str]
"""Makes a new text of tako.toml from the old one."""


class Draft(NamedTuple):
    """A file, what stands in it and what is to stand there, and the project that this makes."""

    file: Path
    before: str
    after: str
    config: Config
    catalog: Catalog

    @property
    def diff(self) -> str:
        """What changes, as `diff -u` prints it; empty where nothing does."""
        name = shown(self.file)
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), name, name, lineterm="")
        return "\n".join(lines)

    def save(self) -> None:
        """Put the text into the file. Raises TakoError if another program has changed it meanwhile, or if writing fails."""
        data = _as_it_was(self.after, self.file.read_bytes())
        rewrite(self.file, data, lambda: _read(self.file) == self.before)


def draft(config: Config, edit: TextEdit) -> Draft:
    """What an edit makes of a project's tako.toml. ConfigError or CatalogError where it would not be sound."""
    if config.file is None:
        raise BadInput("there is no tako.toml to change", hint="make one, or name it with --config")
    before = _read(config.file)
    after = edit(before)
    edited = load_text(after, config.file)
    return Draft(config.file, before, after, edited, read_catalog(edited))


class Saved(NamedTuple):
    """The file that was written, and what keeps the setting from acting on this server."""

    file: Path
    warning: str | None


def save_workers(config_path: str | None, group: str, number: int) -> Saved:
    """Set `workers` in `[workflows.<group>]`. ConfigError, and the file as it was, where that would make it wrong."""
    table = ("workflows", group)
    made = draft(load(config_path), lambda text: with_setting(with_table(text, table), table, ("workers",), number))
    known = {*load(config_path).groups, *made.catalog.groups}
    if group not in known:
        raise unknown_group(group, known)
    made.save()
    source = made.config.sources(group)["workers"]
    overridden = made.config.group(group).workers != number
    return Saved(made.file, f"on the server {made.config.server}, {source} says otherwise" if overridden else None)


def _read(file: Path) -> str:
    """The text, with plain line ends and no mark in front."""
    return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")


def _as_it_was(text: str, before: bytes) -> bytes:
    """The text with the line ends and the mark that the file has."""
    if before.count(b"\r\n") * 2 > before.count(b"\n"):
        text = text.replace("\n", "\r\n")
    return text.encode("utf-8-sig" if before.startswith(b"\xef\xbb\xbf") else "utf-8")
