"""The project under test: tako.toml, catalog and handlers, read once for all tests that use it."""

from __future__ import annotations

import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tako_lite.catalog import Catalog, TriggerSpec, WorkflowSpec, stamps
from tako_lite.catalog.code import CodeHashes
from tako_lite.config import Config, load, load_text, locate
from tako_lite.config.files import FILE_NAME, absolute, stamp
from tako_lite.errors import BadInput, NoProject
from tako_lite.options import WorkflowOptions
from tako_lite.project_lint import read_catalog
from tako_lite.stamps import FileStamp
from tako_lite.testing.environment import environment
from tako_lite.trigger import Trigger
from tako_lite.trigger_options import EVALUATION
from tako_lite.worker.loader import Loader
from tako_lite.workflow import Workflow

Handle = Workflow[..., Any] | Trigger[..., Any]


@dataclass
class LoadedProject:
    """A project that is ready to be tested."""

    config: Config
    catalog: Catalog
    loader: Loader
    imports: Imports
    code: Mapping[str, str]
    """What stands for the code of each workflow: it differs if the code does."""
    stamp: list[int] | None = None
    files: Mapping[Path, FileStamp] = field(default_factory=dict)


@dataclass
class Imports:
    """What `importing.install` has changed: applied while a project is tested, undone afterwards."""

    before: tuple[list[Any], ...] = field(default_factory=lambda: tuple(map(list, _lists())))
    after: tuple[list[Any], ...] = ()

    def note(self) -> None:
        """Keep the present state as that of the project."""
        self.after = tuple(map(list, _lists()))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the modules of the project importable in this block."""
        outside = tuple(map(list, _lists()))
        for current, before, after in zip(_lists(), self.before, self.after, strict=True):
            added = [entry for entry in after if entry not in before and entry not in current]
            current[:0] = added
        try:
            yield
        finally:
            for current, kept in zip(_lists(), outside, strict=True):
                current[:] = kept


def _lists() -> tuple[list[Any], ...]:
    return sys.path, sys.meta_path, sys.path_hooks


_loaded: dict[Path, LoadedProject] = {}
"""The projects that this process has read, by the path of their tako.toml."""


def load_project(project: str | Path, config: str | None, workflows: Sequence[Handle] | None) -> LoadedProject:
    """Read a project, or take what was read before if no file has changed. Raises ConfigError, CatalogError, CannotImport."""
    if workflows is not None:
        return _of_handles(_config_for_handles(project, config), workflows)
    file = _file_of(project)
    if config is not None:
        return _read(_load_text(config, file or absolute(Path(project)) / FILE_NAME))
    key = file or absolute(Path(project))
    known = _loaded.get(key)
    if known is not None and known.stamp == (stamp(file) if file else None) and known.files == _stamps(known.config):
        return known
    current = _load(file) if file else load_text("", key / FILE_NAME)
    read = _loaded[key] = _read(current, has_changed=known is not None and known.files != _stamps(current))
    read.stamp, read.files = stamp(file) if file else None, _stamps(read.config)
    return read


def _file_of(project: str | Path) -> Path | None:
    """The tako.toml of a folder, or None if it has none. `.` is searched for as by `Client()`."""
    if str(project) == ".":
        return locate()
    path = absolute(Path(project))
    if path.is_dir() and not (path / FILE_NAME).exists():
        return None
    return locate(path)


def _config_for_handles(project: str | Path, config: str | None) -> Config:
    try:
        file = _file_of(project)
    except NoProject:
        file = None
    if config is None and file is not None:
        return _load(file)
    return _load_text(config or "", file or absolute(Path(project)) / FILE_NAME)


def _load(file: Path) -> Config:
    """Load a tako.toml whose queue no test uses: the variable with its address need not be set."""
    with _missing_address(file.read_text()):
        return load(file)


def _load_text(text: str, file: Path) -> Config:
    with _missing_address(text):
        return load_text(text, file)


def _missing_address(text: str) -> AbstractContextManager[None]:
    """Sets the variable that the queue's url names, if it is not set, to an address that nothing opens."""
    try:
        url = tomllib.loads(text)["queue"]["url"]
    except (ValueError, KeyError, TypeError):  # mistakes are reported by the load
        return nullcontext()
    name = url.removeprefix("env:") if isinstance(url, str) and url.startswith("env:") else None
    return nullcontext() if name is None or name in os.environ else environment({name: "postgresql://localhost/of-no-test"})


def _stamps(config: Config) -> Mapping[Path, FileStamp]:
    return dict(stamps(config.workflows_path))


def _read(config: Config, *, has_changed: bool = False) -> LoadedProject:
    catalog = read_catalog(config)
    _forget_package(config.workflows_path, has_changed=has_changed)
    specs = [*catalog.workflows.values(), *(trigger.evaluation for trigger in catalog.triggers.values())]
    code = CodeHashes().of(catalog, config.workflows_path)
    return _imported(config, catalog, sorted({spec.module for spec in specs}), code)


def _imported(config: Config, catalog: Catalog, modules: list[str], code: Mapping[str, str]) -> LoadedProject:
    imports = Imports()
    try:
        loader = Loader(config.root, config.workflows_path)
        imports.note()
        loader.load(modules)
    finally:
        for current, before in zip(_lists(), imports.before, strict=True):
            current[:] = before
    return LoadedProject(config, catalog, loader, imports, code)


def _forget_package(folder: Path, *, has_changed: bool) -> None:
    """Forget the imported modules of a workflows folder that has changed, or of another folder with its name."""
    package = sys.modules.get(folder.name)
    if package is None:
        return
    file = getattr(package, "__file__", None)
    paths = [file] if file else [*getattr(package, "__path__", ())]
    if has_changed or not any(Path(path).is_relative_to(folder) for path in paths):
        for name in [name for name in sys.modules if name == folder.name or name.startswith(f"{folder.name}.")]:
            del sys.modules[name]


# Handles that a test defines

_release = count(1)
_releases: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""What stands for the code of handles: each function counts as other code, since what it closes over may differ."""


def _of_handles(config: Config, handles: Iterable[Handle]) -> LoadedProject:
    workflows, triggers, code = {}, {}, {}
    for handle in handles:
        if isinstance(handle, Workflow):
            code[handle.name] = _releases.setdefault(handle.function, f"{next(_release):016x}")
            workflows[handle.name] = _spec(handle, handle.options, config)
        elif isinstance(handle, Trigger):
            own = WorkflowOptions(worker=handle.options.worker, retries=0, timeout=handle.options.timeout)
            evaluation = replace(_spec(handle, own, config), name=f"{EVALUATION}{handle.name}", options=own)
            triggers[handle.name] = TriggerSpec(handle.name, handle.options, evaluation)
        else:
            raise BadInput(f"workflows are handles, not {type(handle).__name__}", hint="pass what @workflow returned")
    catalog = Catalog(config.root, workflows, triggers=triggers)
    loaded = _imported(config, catalog, [], code)
    for handle in handles:
        loaded.loader.take(handle, sys.modules[handle.__module__], getattr(handle.function, "__name__", handle.name))
    return loaded


def _spec(handle: Handle, options: WorkflowOptions, config: Config) -> WorkflowSpec:
    code = getattr(inspect.unwrap(handle.function), "__code__", None)
    file, line = (Path(code.co_filename), code.co_firstlineno) if code else (config.root, 0)
    default = WorkflowOptions()
    written = frozenset(name for name in options._fields if getattr(options, name) != getattr(default, name))
    name = getattr(handle.function, "__name__", handle.name)
    return WorkflowSpec(handle.name, options, handle.__module__, "", name, file, line, written).routed(config.routes)
