"""The state folder of a project: `state_dir` of tako.toml, for clients that read nothing else of the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from tako_lite.config.files import STATE_DIR
from tako_lite.errors import BadInput, ConfigError, Mistake

KEY: Final = "state_dir"
_CANNOT_BE_IN_A_URL: Final = "?#"


def state_folder(file: Path | None, root: Path) -> Path:
    """The state folder that a tako.toml names. Raises ConfigError if its first lines cannot be read.

    Only the keys above the first table are parsed, and only if one of them may be `state_dir`: every client needs the folder
    first, and must reach the daemon although a table has a mistake.
    """
    text = b"" if file is None else _read(file)
    if KEY.encode() not in text or file is None:
        return root / STATE_DIR
    from tako_lite.config.document import Document, shown  # imports tomllib, which most clients do not need

    whole = text.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    try:
        document = Document(shown(file), _above_tables(whole))
    except ConfigError:  # a value above the tables has a line that looks like the head of a table
        document = Document(shown(file), whole)
    try:
        return locate_state(document.tables.get(KEY, STATE_DIR), root)
    except BadInput as error:
        raise ConfigError([document.mistake((KEY,), f"`{KEY}`: {error.message}", error.hint)]) from None


def locate_state(value: Any, root: Path) -> Path:
    """The absolute path of a state folder. Raises BadInput for one that cannot be a folder of its own."""
    from tako_lite.config.values import located, text

    folder = located(text(value), root)
    if root.is_relative_to(folder):
        raise BadInput("must be a folder of its own: the folder of tako.toml is in it", hint=f'such as "{STATE_DIR}"')
    if any(character in str(value) for character in _CANNOT_BE_IN_A_URL):
        raise BadInput("must not contain `?` or `#`: the URL of the queue would end there")
    return folder


def queue_url(folder: Path, root: Path) -> str:
    """The URL of the queue, unless tako.toml has one: a file in the state folder."""
    named = folder.relative_to(root) if folder.is_relative_to(root) else folder
    return f"sqlite:///{named}/queue.db"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError([Mistake(str(file), 0, 0, f"cannot be read: {os.strerror(error.errno or 0)}")]) from error


def _above_tables(text: str) -> str:
    """The lines above the first that begins with a bracket."""
    return f"\n{text}".partition("\n[")[0].removeprefix("\n")
