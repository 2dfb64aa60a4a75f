"""The hash of the code of each workflow: of its file, and of the files of the project that it imports.

Nothing is executed. Only the content of files and their place within the project count, so a release has the same hash in every
folder and on every machine. Installed packages do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.catalog.module import package_of
from tako_lite.catalog.names import base_of, statements
from tako_lite.catalog.source import parse, read_source
from tako_lite.catalog.specs import Catalog
from tako_lite.stamps import FileStamp, file_stamp

LENGTH: Final = 16
"""Characters of a hash."""


class _Read(NamedTuple):
    """A file as it was read: its stamp, the digest of its content, and the full names that it imports."""

    stamp: FileStamp | None
    digest: bytes
    imports: tuple[str, ...]


class CodeHashes:
    """Computes the hashes; a file that did not change is read once."""

    def __init__(self) -> None:
        self._read: dict[Path, _Read] = {}

    def of(self, catalog: Catalog, folder: Path) -> dict[str, str]:
        """The hash of each workflow, by its name; `folder` is that of the workflow files."""
        reading = _Reading(catalog.root, folder, self._read)
        by_file = {file: reading.hash_of(file) for file in {spec.file for spec in catalog.workflows.values()}}
        self._read = reading.read
        return {name: by_file[spec.file] for name, spec in catalog.workflows.items()}


class _Reading:
    def __init__(self, root: Path, folder: Path, before: Mapping[Path, _Read]) -> None:
        self.read: dict[Path, _Read] = {}
        self._root, self._folder, self._before = root, folder, before

    def hash_of(self, file: Path) -> str:
        """The hash of a file and of all that it imports of the project."""
        found, pending = {file}, [file]
        while pending:
            for name in self._file(pending.pop()).imports:
                for other in self._files_of(name):
                    if other not in found:
                        found.add(other)
                        pending.append(other)
        whole = hashlib.sha256()
        for name, path in sorted((self._shown(path), path) for path in found):
            whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + self._file(path).digest)
        return whole.hexdigest()[:LENGTH]

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self._base(file)))

    def _base(self, file: Path) -> Path:
        """The folder of `sys.path` that a file is imported from."""
        return self._folder.parent if file.is_relative_to(self._folder) else self._root

    def _file(self, file: Path) -> _Read:
        if (known := self.read.get(file)) is None:
            known, stamp = self._before.get(file), file_stamp(file)
            if known is None or known.stamp != stamp:
                known = self._opened(file, stamp)
            self.read[file] = known
        return known

    def _opened(self, file: Path, stamp: FileStamp | None) -> _Read:
        try:
            content = file.read_bytes()
        except OSError:
            return _Read(None, b"", ())
        package = package_of(file, ".".join(file.relative_to(self._base(file)).with_suffix("").parts).removesuffix(".__init__"))
        return _Read(stamp, hashlib.sha256(content).digest(), tuple(sorted(set(_imports(content, package)))))

    def _files_of(self, name: str) -> Iterator[Path]:
        """The files of the project that are imported with a module: those of its packages, and its own."""
        parts = name.split(".")
        base = self._folder.parent if parts[0] == self._folder.name else self._root
        for count in range(1, len(parts) + 1):
            place = base.joinpath(*parts[:count])
            if (package := place / "__init__.py").is_file():
                yield package
            elif (module := place.with_name(f"{place.name}.py")).is_file():
                yield module
                return
            elif not place.is_dir():
                return


def _imports(content: bytes, package: str) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, also inside functions. A file that cannot be parsed has none."""
    try:
        tree = parse(read_source(content, ""))
    except Exception:  # it was reported where the catalog read it
        return
    for node in statements(tree) if isinstance(tree, ast.Module) else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (base := base_of(node, package)):
            yield from (f"{base}.{alias.name}" for alias in node.names)
