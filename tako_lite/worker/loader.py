"""Imports the modules of a worker's own group, and no others."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

from tako_lite import importing
from tako_lite.engine import message_of
from tako_lite.errors import BadInput, TakoError
from tako_lite.stamps import FileStamp, file_stamp
from tako_lite.trigger import Trigger, found
from tako_lite.trigger_options import EVALUATION
from tako_lite.typed import converter
from tako_lite.worker.written import written_parameters
from tako_lite.workflow import Workflow


class CannotImport(TakoError):
    """A user module does not import; the message has the file and line."""

    type = "cannot_import"


@dataclass(frozen=True, slots=True)
class Handler:
    """A workflow that is ready to run. `parameters` is how many of (payload, step) it takes.

    `hides_async`: a plain decorator is above an `async def`, so a call returns its coroutine.
    """

    function: Callable[..., Any]
    parameters: int
    is_async: bool
    read_payload: Callable[[Any], Any] | None
    is_evaluation: bool = False
    hides_async: bool = False
    schedule: str | None = None
    timezone: str | None = None


class Loader:
    """Modules by name, workflows by name. `root` is tako.toml's folder, `package` the workflows folder."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root = root
        self._package = package
        self._handlers: dict[str, Handler] = {}
        self._seen = 0
        self._noted: set[str] = set()
        self._inherited = next(reversed(sys.modules))
        """The last module that the fork server had imported."""
        importing.install(root, package)

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
            hint = "its name was bound to something else later, or the file has changed since: tako-lite reload"
            raise CannotImport(message, hint=hint) from None

    def schedule_of(self, workflow: str) -> tuple[str | None, str | None]:
        """The schedule of a workflow that is imported, and its time zone."""
        handler = self._handlers.get(workflow)
        return (None, None) if handler is None else (handler.schedule, handler.timezone)

    def knows(self, workflow: str) -> bool:
        """Whether the handler of a workflow is there without another import."""
        return workflow in self._handlers

    def new_files(self) -> dict[str, FileStamp]:
        """The project's files that were imported since the last call, with their stamps, by which a change is noticed."""
        if len(sys.modules) == self._seen:
            return {}
        self._seen = len(sys.modules)
        paths = (getattr(module, "__file__", None) for module in self._own_modules())
        found = {path for path in paths if isinstance(path, str) and self._is_ours(path)} - self._noted
        self._noted |= found
        stamped = ((path, importing.stamps.get(path) or file_stamp(path)) for path in sorted(found))
        return {path: stamp for path, stamp in stamped if stamp is not None}

    def _own_modules(self) -> list[ModuleType]:
        """The modules that this process imported itself; reading the others would copy memory shared with the fork server."""
        try:
            later = takewhile(lambda name: name != self._inherited, reversed(sys.modules))
            return [sys.modules[name] for name in later]
        except (RuntimeError, KeyError):  # a thread is importing something
            return list(sys.modules.values())

    def _is_ours(self, path: str) -> bool:
        return path.startswith((f"{self.root}/", f"{self._package}/")) or path in importing.stamps

    def _import(self, name: str) -> None:
        try:
            module = importlib.import_module(name)
            for variable, value in list(vars(module).items()):
                if isinstance(value, Workflow | Trigger) and value.__module__ == name:
                    self.take(value, module, variable)
        except CannotImport:
            raise
        except BaseException as error:  # sys.exit and a cancelled asyncio.run too: the worker ends in order and reports why
            raise CannotImport(self.describe(error)) from error

    def take(self, found: Workflow[Any, Any] | Trigger[Any, Any], module: ModuleType, variable: str) -> None:
        """Make a handler of a decorated function. Raises CannotImport with the line and name of an invalid one."""
        try:
            if isinstance(found, Workflow):
                handler, options = _prepare(found, "payload", module, variable), found.options
                if options.schedule is not None:
                    handler = replace(handler, schedule=options.schedule, timezone=options.timezone)
                self._handlers[found.name] = handler
            else:
                self._handlers[f"{EVALUATION}{found.name}"] = _evaluation(found, module, variable)
        except Exception as error:
            code = getattr(inspect.unwrap(found.function), "__code__", None)
            place = f"{code.co_filename}:{code.co_firstlineno}" if code else module.__file__ or module.__name__
            hint = f" ({error.hint})" if isinstance(error, TakoError) and error.hint else ""
            text = f"{type(error).__name__}: {message_of(error)}{hint}"
            raise CannotImport(f"{place.removeprefix(f'{self.root}/')} ({found.name}): {text}") from error

    def describe(self, error: BaseException) -> str:
        """The error in words, with the file and line that the user can fix."""
        text = f"{type(error).__name__}: {message_of(error)}"
        if isinstance(error, SyntaxError) and error.filename:
            return f"{self._short(error.filename)}:{error.lineno}: {type(error).__name__}: {error.msg}"
        if isinstance(error, ModuleNotFoundError) and error.name:
            text = f"{text} ({self._where_it_looked(error.name)})"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if self._is_ours(frame.filename)]
        return f"{self._short(frames[-1].filename)}:{frames[-1].lineno}: {text}" if frames else text

    def _short(self, file: str) -> str:
        return file.removeprefix(f"{self.root}/")

    def _where_it_looked(self, name: str) -> str:
        """Where a module was searched that was not found, and what to set."""
        top = name.partition(".")[0]
        if top in sys.modules:
            return f"{top} was found at {_place_of(top)}"
        beside = "" if self._package.parent == self.root else f" or {self._package.parent} (beside the workflows folder)"
        return (
            f"{top} is not in {self.root} (the folder of tako.toml){beside}, and is not installed for {sys.executable}; "
            'set `env = { PYTHONPATH = "FOLDER" }` for the group, or install it there'
        )


def _place_of(module: str) -> str:
    """The file or folder of a module that was imported."""
    found = sys.modules[module]
    return getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), "an unknown place")


def _evaluation(trigger: Trigger[Any, Any], module: ModuleType, variable: str) -> Handler:
    """The handler of a trigger: it takes the cursor as its payload, and its result is checked before it is reported."""
    function = trigger.function

    async def evaluated(returned: Awaitable[Any]) -> Any:
        return found(await returned)

    def evaluate(cursor: Any) -> Any:
        returned = function(cursor)
        return evaluated(returned) if inspect.iscoroutine(returned) else found(returned)

    return replace(_prepare(trigger, "cursor", module, variable), function=evaluate, is_evaluation=True)


def _prepare(workflow: Workflow[Any, Any] | Trigger[Any, Any], what: str, module: ModuleType, variable: str) -> Handler:
    function = workflow.function
    seen = inspect.signature(function).parameters.values()
    parameters = [each for each in seen if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    count = len(parameters)
    if count < 2 and any(each.kind is each.VAR_POSITIONAL for each in seen):
        count = written_parameters(module, variable, count)
    if len([parameter for parameter in parameters if parameter.default is parameter.empty]) > 2:
        raise BadInput(f"workflow {workflow.name} takes more than a payload and a step")
    read_payload = None
    if parameters and parameters[0].annotation is not inspect.Parameter.empty:
        annotation = _annotations(function).get(parameters[0].name, Any)
        if annotation is not Any:
            read_payload = converter(annotation, what)
    is_async = inspect.iscoroutinefunction(function)
    hides_async = not is_async and inspect.iscoroutinefunction(inspect.unwrap(function))
    return Handler(function, min(count, 2), is_async, read_payload, hides_async=hides_async)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BadInput(f"an annotation means nothing: {error}", hint="import what it names at run time") from None
