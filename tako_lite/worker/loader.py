"""Imports the modules of a worker's own group, and no others."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from tako_lite.engine import message_of
from tako_lite.errors import BadInput, TakoError
from tako_lite.trigger import EVALUATION, Trigger, found
from tako_lite.typed import converter
from tako_lite.workflow import Workflow


class CannotImport(TakoError):
    """A module of the user's does not import; the message has the file and line."""

    type = "cannot_import"


@dataclass(frozen=True, slots=True)
class Handler:
    """A workflow that is ready to run. `parameters` is how many of (payload, step) it takes, `end` reports its result."""

    function: Callable[..., Any]
    parameters: int
    is_async: bool
    read_payload: Callable[[Any], Any] | None
    end: str = "ok"


class Loader:
    """Modules by name, workflows by name. `root` is tako.toml's folder, `package` the workflows folder."""

    def __init__(self, root: Path, package: Path) -> None:
        self._root = root
        self._package = package
        self._handlers: dict[str, Handler] = {}
        sys.path.insert(0, str(root))
        sys.path_importer_cache.clear()

    def load(self, modules: list[str]) -> list[str]:
        """Import modules and return the names of the workflows in them. Raises CannotImport."""
        for module in modules:
            self._import(module)
        return sorted(self._handlers)

    def handler(self, workflow: str, module: str) -> Handler:
        """The handler of a workflow; its module is imported if routing sent a run of another group here."""
        if workflow not in self._handlers:
            self._import(module)
        try:
            return self._handlers[workflow]
        except KeyError:
            name = workflow.removeprefix(EVALUATION)
            noun = "workflow" if name == workflow else "trigger"
            message = f"{module} defines no {noun} {name!r} at run time"
            hint = "its name is bound to something else by then, or the file has changed since: tako-lite reload"
            raise CannotImport(message, hint=hint) from None

    def files(self) -> list[str]:
        """The files below the root that were imported, so that a change of them can be noticed."""
        root = str(self._root) + "/"
        paths = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        return sorted({path for path in paths if path and path.startswith(root)})

    def _import(self, name: str) -> None:
        try:
            self._make_package(name.partition(".")[0])
            module = importlib.import_module(name)
            for value in list(vars(module).values()):
                if isinstance(value, Workflow | Trigger) and value.__module__ == name:
                    self._take(value, module.__file__ or name)
        except CannotImport:
            raise
        except (Exception, SystemExit) as error:
            raise CannotImport(self._describe(error)) from error

    def _take(self, found: Workflow[Any, Any] | Trigger[Any, Any], file: str) -> None:
        """Make a handler of a decorated function. Raises CannotImport with the line and name of one that cannot be."""
        try:
            if isinstance(found, Workflow):
                self._handlers[found.name] = _prepare(found, "payload")
            else:
                self._handlers[f"{EVALUATION}{found.name}"] = _evaluation(found)
        except Exception as error:
            code = getattr(inspect.unwrap(found.function), "__code__", None)
            place = f"{code.co_filename}:{code.co_firstlineno}" if code else file
            hint = f" ({error.hint})" if isinstance(error, TakoError) and error.hint else ""
            text = f"{type(error).__name__}: {message_of(error)}{hint}"
            raise CannotImport(f"{place.removeprefix(f'{self._root}/')} ({found.name}): {text}") from error

    def _make_package(self, package: str) -> None:
        """Make the workflows folder importable under its own name, wherever it is and whoever else has that name."""
        if package in sys.modules or package != self._package.name:
            return
        init = self._package / "__init__.py"
        spec = importlib.util.spec_from_file_location(package, init) if init.exists() else ModuleSpec(package, None)
        assert spec is not None  # noqa: S101
        spec.submodule_search_locations = [str(self._package)]
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        if spec.loader is not None and init.exists():
            spec.loader.exec_module(module)

    def _describe(self, error: BaseException) -> str:
        """What happened, with the file and line that the user can mend."""
        root = str(self._root) + "/"
        if isinstance(error, SyntaxError) and error.filename:
            place = f"{error.filename.removeprefix(root)}:{error.lineno}"
            return f"{place}: {type(error).__name__}: {error.msg}"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(root)]
        text = f"{type(error).__name__}: {message_of(error)}"
        if not frames:
            return text
        return f"{frames[-1].filename.removeprefix(root)}:{frames[-1].lineno}: {text}"


def _evaluation(trigger: Trigger[Any, Any]) -> Handler:
    """A trigger takes its cursor as a payload, and what it returns is looked at before it is reported."""
    look = trigger.function

    async def evaluate(cursor: Any) -> Any:
        return found(await look(cursor))

    handler = _prepare(trigger, "cursor")
    return replace(handler, function=evaluate if handler.is_async else lambda cursor: found(look(cursor)), end="found")


def _prepare(workflow: Workflow[Any, Any] | Trigger[Any, Any], what: str) -> Handler:
    function = workflow.function
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len([parameter for parameter in parameters if parameter.default is parameter.empty]) > 2:
        raise BadInput(f"workflow {workflow.name} takes more than a payload and a step")
    read_payload = None
    if parameters and parameters[0].annotation is not inspect.Parameter.empty:
        annotation = _annotations(function).get(parameters[0].name, Any)
        if annotation is not Any:
            read_payload = converter(annotation, what)
    return Handler(function, min(len(parameters), 2), inspect.iscoroutinefunction(function), read_payload)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BadInput(f"an annotation means nothing: {error}", hint="import what it names at run time") from None
