"""`check --stdin`: the mistakes of a file as an editor has it, before it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tako_lite.cli.options import given_config
from tako_lite.cli.projectfiles import ProjectFiles, compare, unreadable
from tako_lite.config import examine, examine_text, find_file, locate
from tako_lite.config.document import shown
from tako_lite.config.files import FILE_NAME, absolute
from tako_lite.errors import BadInput, ConfigError, Mistake


def read_unsaved(path: Path, text: bytes, server: str | None) -> tuple[Sequence[Mistake], Sequence[Mistake]]:
    """The mistakes and warnings of one file of a project with this text. Raises BadInput for a file of no project.

    The project is that of `--config`, else the one that the file is in.
    """
    file = absolute(path)
    config = given_config()
    settings = find_file(file.parent) if config is None else locate(config)
    is_settings = file == settings or (settings is None and file.name == FILE_NAME)
    files = _with_settings(file, text, server) if is_settings else _with_workflows(file, text, settings, server)
    names = {shown(file), str(file), path.as_posix()}
    if not is_settings and files.settings is not None and file.is_relative_to(files.settings.root):
        names.add(str(file.relative_to(files.settings.root)))
    mistakes = (*files.of_config.mistakes, *files.of_catalog.mistakes)
    warnings = (*files.of_config.warnings, *files.of_catalog.warnings)
    return [each for each in mistakes if each.file in names], [each for each in warnings if each.file in names]


def _with_settings(file: Path, text: bytes, server: str | None) -> ProjectFiles:
    try:
        return compare(examine_text(text.decode("utf-8-sig").replace("\r\n", "\n"), file, server=server), {})
    except ConfigError as error:
        return unreadable(error)
    except UnicodeDecodeError:
        return unreadable(ConfigError([Mistake(shown(file), 1, 1, "the text is not UTF-8")]))


def _with_workflows(file: Path, text: bytes, settings: Path | None, server: str | None) -> ProjectFiles:
    examined = examine(settings, server=server)
    folder = examined.config.workflows_path
    if file.suffix != ".py" or not file.is_relative_to(folder):
        what = f"{file} is neither {FILE_NAME} nor a workflow file of the project"
        raise BadInput(what, hint=f"workflow files are those in {folder}")
    found = compare(examined, {file: text})
    return found if found.settings is not None else found._replace(settings=examined.config)
