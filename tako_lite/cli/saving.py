"""Writing a setting into tako.toml without touching anything else in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from tako_lite.config import Config, load
from tako_lite.errors import BadInput, ConfigError
from tako_lite.routing import unknown_group


class Saved(NamedTuple):
    """The file that was written, and what keeps the setting from acting on this server."""

    file: Path
    warning: str | None


def save_workers(config_path: str | None, group: str, number: int) -> Saved:
    """Set `workers` in `[workflows.<group>]`. ConfigError, and the file as it was, where that would make it wrong."""
    before = load(config_path)
    if before.file is None:
        raise BadInput("there is no tako.toml to save to", hint="make one, or name it with --config")
    _check_group(before, group)
    file = before.file.resolve()  # the file behind a link is replaced, not the link
    after = _replace(file, lambda text: _with_workers(text, group, number))
    source = after.sources(group)["workers"]
    overridden = after.group(group).workers != number
    return Saved(before.file, f"on the server {after.server}, {source} says otherwise" if overridden else None)


def _check_group(config: Config, group: str) -> None:
    from tako_lite.catalog import scan

    known = {*config.groups, *scan(config.workflows_path, config.root, config.routes).groups}
    if group not in known:
        raise unknown_group(group, known)


def _with_workers(text: str, group: str, number: int) -> str:
    try:
        document: Any = tomlkit.parse(text)
        if "workflows" not in document:
            document["workflows"] = tomlkit.table(is_super_table=True)
        if group not in document["workflows"]:
            document["workflows"][group] = tomlkit.table()
        document["workflows"][group]["workers"] = number
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise BadInput(f"tako.toml cannot be edited: {error}", hint="set `workers` by hand") from None


def _replace(file: Path, edit: Callable[[str], str]) -> Config:
    """Put the edited text in the place of a file, all or nothing, once it is a sound configuration."""
    with file.open(encoding="utf-8", newline="") as stream:  # line ends stay as they are
        text = edit(stream.read())
    with tempfile.TemporaryDirectory(prefix=".tako-", dir=file.parent) as folder:
        draft = Path(folder) / file.name
        with draft.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            config = load(draft)
        except ConfigError as error:
            raise ConfigError([mistake._replace(file=str(file)) for mistake in error.mistakes]) from None
        shutil.copymode(file, draft)
        draft.replace(file)
    return config
