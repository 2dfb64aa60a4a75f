"""A new text of tako.toml: validated, shown as a diff, and saved."""

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
    """A file with its old and new text, and the project that results."""

    file: Path
    before: str
    after: str
    config: Config
    catalog: Catalog

    @property
    def diff(self) -> str:
        """The change as `diff -u` prints it; empty if there is none."""
        name = shown(self.file)
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), name, name, lineterm="")
        return "\n".join(lines)

    def save(self) -> None:
        """Write the new text to the file. Raises TakoError if another program has changed the file, or if writing fails."""
        data = _in_style_of(self.after, self.file.read_bytes())
        rewrite(self.file, data, lambda: _read(self.file) == self.before)


def draft(config: Config, edit: TextEdit) -> Draft:
    """Apply an edit to the text of tako.toml. Raises ConfigError or CatalogError if the result would be invalid."""
    if config.file is None:
        raise BadInput("there is no tako.toml to change", hint="create one, or choose one with --config")
    before = _read(config.file)
    after = edit(before)
    edited = load_text(after, config.file)
    return Draft(config.file, before, after, edited, read_catalog(edited))


class Saved(NamedTuple):
    """The saved file, and a warning if another table overrides the setting on this server."""

    file: Path
    warning: str | None


def save_workers(config_path: str | None, group: str, number: int) -> Saved:
    """Set `workers` in `[workflows.<group>]`. Raises ConfigError, with the file unchanged, if the result would be invalid."""
    table = ("workflows", group)
    made = draft(load(config_path), lambda text: with_setting(with_table(text, table), table, ("workers",), number))
    known = {*load(config_path).groups, *made.catalog.groups}
    if group not in known:
        raise unknown_group(group, known)
    made.save()
    source = made.config.sources(group)["workers"]
    overridden = made.config.group(group).workers != number
    return Saved(made.file, f"{source} overrides it on server {made.config.server}" if overridden else None)


def _read(file: Path) -> str:
    """The text with `\\n` line ends and without a byte order mark."""
    return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")


def _in_style_of(text: str, before: bytes) -> bytes:
    """The text with the line ends and byte order mark of the existing file."""
    if before.count(b"\r\n") * 2 > before.count(b"\n"):
        text = text.replace("\n", "\r\n")
    return text.encode("utf-8-sig" if before.startswith(b"\xef\xbb\xbf") else "utf-8")
