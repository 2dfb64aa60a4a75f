"""How a worker, and the Python processes that its handlers start through multiprocessing, import the project's modules.

`sys.path` begins with tako.toml's folder. If the workflows folder lies in another folder, `sys.path` ends with that one: its
modules can be imported, and hide no others. The workflows folder itself is a package under its own name, even if another
module has that name. Modules of the project are compiled again whenever their cached bytecode could be stale: see
`ProjectLoader`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import sys
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    NamespaceLoader,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from tako_lite.stamps import FileStamp, file_stamp

VARIABLE: Final = "TAKO_LITE_IMPORTS"
"""The environment variable that passes `root` and `package` to processes that a worker starts."""
INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_SLOWEST_COMPILE: Final = 2_000_000_000
"""Nanoseconds; a file that changed this shortly before its bytecode was written may have changed in between."""
_HEADER: Final = 16

stamps: dict[str, FileStamp] = {}
"""The stamps of the project's files at the time when they were read, by path."""


def install(root: Path, package: Path) -> None:
    """Make the modules of a project importable in this process, and in those that it starts through multiprocessing."""
    sys.path.insert(0, str(root))
    if package.parent != root:
        sys.path.append(str(package.parent))
    os.putenv(VARIABLE, json.dumps([str(root), str(package)]))  # not in os.environ, which shows the environment of the group
    _install_finders(package)


def install_again() -> None:
    """The same in a process that a worker started, which has inherited `sys.path`."""
    if given := os.environ.get(VARIABLE):
        _root, package = json.loads(given)
        _install_finders(Path(package))


def _install_finders(package: Path) -> None:
    sys.meta_path.insert(0, WorkflowsFinder(package))
    # The standard library (sysconfig would read a file at each start to find it) and this package.
    others = {os.path.dirname(os.__file__), os.path.dirname(os.path.abspath(__file__))}  # noqa: PTH100, PTH120 -- starts faster

    def finder(entry: str) -> FileFinder:
        """A finder for a folder of the project. Raises ImportError for any other one."""
        if _is_of_project(entry, others):
            return FileFinder(
                entry,
                (ExtensionFileLoader, EXTENSION_SUFFIXES),
                (ProjectLoader, SOURCE_SUFFIXES),
                (SourcelessFileLoader, BYTECODE_SUFFIXES),
            )
        raise ImportError("not of the project", path=entry)

    sys.path_hooks.insert(0, finder)
    for entry in [entry for entry in sys.path_importer_cache if _is_of_project(entry, others)]:
        del sys.path_importer_cache[entry]  # the others stay: to free them would copy memory shared with the fork server


def _is_of_project(folder: str, others: set[str]) -> bool:
    """Whether a folder has files that people edit: any that is not the standard library, installed, or this package."""
    if not INSTALLED.isdisjoint(folder.split("/")) or any(f"{folder}/".startswith(f"{other}/") for other in others):
        return False
    return os.path.isdir(folder)  # noqa: PTH112 -- starts faster


class WorkflowsFinder:
    """Finds the workflows folder under its own name, wherever it is."""

    def __init__(self, package: Path) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package.name:
            return None
        init = self._package / "__init__.py"
        if not init.exists():
            spec = ModuleSpec(fullname, None, is_package=True)
            # not a list, which importlib.resources refuses in a package without __init__.py
            made = NamespaceLoader(fullname, [str(self._package)], self.find_spec)
            spec.submodule_search_locations = vars(made)["_path"]
            return spec
        loader = ProjectLoader(fullname, str(init))
        return importlib.util.spec_from_file_location(
            fullname, init, loader=loader, submodule_search_locations=[str(self._package)]
        )


class ProjectLoader(SourceFileLoader):
    """Loads a source file of the project; it uses cached bytecode only if that is certain to be of the current text.

    Python's own bytecode records the mtime in seconds and the length of its source, so it misses an edit of the same length
    within a second, or one whose mtime was set back. The bytecode that is written here has a hash of its source, which every
    Python checks.
    """

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        if stamp := file_stamp(path):
            stamps[path] = stamp  # taken before the file is read: what comes later is a change
        try:
            cache = importlib.util.cache_from_source(path)
        except NotImplementedError:
            return super().get_code(fullname)
        if stamp is not None and (self._is_of_text(cache, path, stamp) or self._write(cache, path)):
            return super().get_code(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def _is_of_text(self, cache: str, path: str, stamp: FileStamp) -> bool:
        """Whether bytecode is of the current source, or Python itself will find that it is stale."""
        try:
            with Path(cache).open("rb") as file:
                header = file.read(_HEADER)
                written = os.fstat(file.fileno())
        except OSError:
            return False
        if len(header) < _HEADER or header[:4] != importlib.util.MAGIC_NUMBER:
            return False
        if header[4:8] != bytes(4):
            return header[8:] == importlib.util.source_hash(self.get_data(path))
        one_clock = written.st_dev == os.stat(path).st_dev  # noqa: PTH116 -- at every import of a worker
        return one_clock and stamp.changed + _SLOWEST_COMPILE < written.st_mtime_ns

    def _write(self, cache: str, path: str) -> bool:
        """Compile a file, and cache the bytecode for the next worker; False if that fails or is turned off."""
        if sys.dont_write_bytecode:
            return False
        try:
            py_compile.compile(path, cache, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        except (OSError, py_compile.PyCompileError):  # a read-only folder, or a mistake in the file, which the import reports
            return False
        return True
