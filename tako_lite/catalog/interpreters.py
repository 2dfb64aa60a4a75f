"""Asks the interpreters of groups to parse workflow files: each knows the syntax of its own version."""

from __future__ import annotations

import ast
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

TIME_LIMIT: Final = 15.0
OWN_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_SPECIAL: Final = {"Ellipsis": Ellipsis, "inf": float("inf"), "infj": complex(0, float("inf"))}
"""Constants whose repr is not a literal."""
_BASES: Final = {"stmt": ast.stmt, "expr": ast.expr, "pattern": ast.pattern}


class Pythons(NamedTuple):
    """The interpreters of a project: all that its tables name, and the one of each group (None: that of the daemon).

    With `all_files` each interpreter parses all files of its groups, else only those that ours cannot parse.
    """

    named: tuple[str, ...] = ()
    of: Callable[[str], str | None] = lambda group: None
    all_files: bool = False


class Fault(NamedTuple):
    """Why a source is not valid for a Python version; line and column count from 1."""

    version: str
    line: int
    column: int
    reason: str

    @property
    def message(self) -> str:
        """The message of a mistake."""
        return f"not valid Python {self.version}: {self.reason}"


class Reply(NamedTuple):
    """An interpreter's answer for several sources: a tree if one was requested, None if the source is valid, or a fault."""

    version: str
    files: tuple[ast.Module | Fault | None, ...]


class CannotAsk(Exception):
    """An interpreter could not be asked; the text tells why. This exception never leaves the package."""


def ask(python: str, texts: Sequence[str], *, trees: bool) -> Reply:
    """Parse sources with an interpreter, all in one process; repeated requests are answered from memory. Raises CannotAsk."""
    import shutil  # most projects have one interpreter and never get here

    program = shutil.which(python)
    if program is None:
        raise CannotAsk("there is no such program")
    found = Path(program).stat()
    return _ask(program, (found.st_mtime_ns, found.st_size), tuple(texts), trees)


@functools.lru_cache(maxsize=8)
def _ask(program: str, stamp: tuple[int, int], texts: tuple[str, ...], trees: bool) -> Reply:
    import subprocess

    request = json.dumps([{"text": text, "tree": trees} for text in texts])
    try:
        done = subprocess.run(
            [program, "-I", "-S", "-c", _program()],
            input=request.encode(),
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        if done.returncode or not done.stdout:  # the daemon may have reaped it first: its exit code is then lost
            reason = failure_reason(done.stderr.decode(errors="backslashreplace"))
            raise CannotAsk(reason or f"it ended with exit code {done.returncode}")
        answer = json.loads(done.stdout)
        version = ".".join(str(answer["version"]).split(".")[:2])
        return Reply(version, tuple(_read(found, version) for found in answer["files"]))
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"it did not answer within {TIME_LIMIT:g} s") from None
    except OSError as error:
        raise CannotAsk(error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise CannotAsk("its answer is not that of a Python interpreter") from None


def failure_reason(said: str) -> str:
    """Why a program failed: the last line of Python's error output, the first line of any other's."""
    lines = said.strip().splitlines() or [""]
    return lines[-1 if lines[0].startswith(("Traceback", 'File "')) else 0]


def _program() -> str:
    from importlib.resources import files  # only needed if a group has its own interpreter

    return (files("tako_lite.catalog") / "dump.py").read_text(encoding="utf-8")


def _read(found: Any, version: str) -> ast.Module | Fault | None:
    if found is None:
        return None
    if isinstance(found, dict):
        line, column, reason = found["error"]
        return Fault(version, int(line), int(column), str(reason))
    return _tree(found)


def _tree(dumped: list[Any]) -> ast.Module:
    """The tree of the nodes that `dump.py` lists; a node that our own version does not know gets a class of its own."""
    # Made without their fields, because newer versions warn about missing ones; the fields follow below.
    classes = (_node_class(name, kind, tuple(fields)) for name, kind, _, fields in dumped)
    nodes = [cls.__new__(cls) for cls in classes]
    for node, (_, _, place, fields) in zip(nodes, dumped, strict=True):
        for name, value in place.items():
            setattr(node, name, value)
        for name, value in fields.items():
            setattr(node, name, _field(value, nodes))
    module = nodes[0]
    assert isinstance(module, ast.Module)  # noqa: S101
    return module


def _field(value: Any, nodes: list[ast.AST]) -> Any:
    if isinstance(value, list):
        return [_field(item, nodes) for item in value]
    ((form, content),) = value.items()
    match form:
        case "n":
            return nodes[content]
        case "c":
            return getattr(ast, content)()
        case "r":
            return _SPECIAL[content] if content in _SPECIAL else ast.literal_eval(content)
    return content


def _node_class(name: str, kind: str, fields: tuple[str, ...]) -> type[ast.AST]:
    known = getattr(ast, name, None)
    if isinstance(known, type) and issubclass(known, ast.AST):
        return known
    return type(name, (_BASES.get(kind, ast.AST),), {"_fields": fields})
