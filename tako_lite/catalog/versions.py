"""Chooses the Python version that parses a file: that of the daemon, or that of a group whose workers import it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from typing import Final

from tako_lite.catalog.interpreters import OWN_VERSION, CannotAsk, Fault, Pythons, Reply, ask
from tako_lite.catalog.source import Source
from tako_lite.errors import Mistake

OLDEST: Final = (3, 11)
"""The oldest Python that workers run on."""


class Versions:
    """The interpreters of a project, asked only when a file needs them, each once for many files.

    `warnings` reports those that could not be asked.
    """

    def __init__(self, pythons: Pythons) -> None:
        self._pythons = pythons
        self._silent: dict[str, str] = {}
        self._readers: dict[Source, str] = {}
        self._faults: dict[Source, Fault] = {}
        self.warnings: list[Mistake] = []

    def read(self, broken: Sequence[tuple[Source, Fault]]) -> list[ast.Module | Mistake]:
        """The trees of sources that our own interpreter cannot parse, from the first other one that can, else a mistake."""
        found: dict[Source, ast.Module] = {}
        self._faults = dict(broken)
        newest = dict(broken)
        for python in self._pythons.named if broken else ():
            left = [source for source, _ in broken if source not in found]
            reply = self._ask(python, left, trees=True)
            if reply is not None and _number(reply.version) < OLDEST:
                continue  # workers cannot run on it
            for source, answer in zip(left, reply.files if reply else (), strict=False):
                if isinstance(answer, ast.Module):
                    found[source] = answer
                    self._readers[source] = f"{python} ({reply.version})" if reply else python
                elif answer is not None and _number(answer.version) > _number(newest[source].version):
                    newest[source] = answer
        return [found.get(source) or self._mistake(source, newest[source]) for source, _ in broken]

    def unfit(self, users: Sequence[tuple[Source, Set[str]]]) -> Iterator[Mistake]:
        """A mistake for each file that the interpreter of a group which imports it cannot parse."""
        by_python: dict[str | None, dict[Source, str]] = defaultdict(dict)
        for source, groups in users:
            for group in sorted(groups):
                python = self._pythons.of(group)
                if source in self._faults or (python is not None and self._pythons.all_files):
                    by_python[python].setdefault(source, group)
        for python, sources in by_python.items():
            reply = self._own(list(sources)) if python is None else self._ask(python, list(sources), trees=False)
            if python is not None and (problem := self._problem(python, reply)):
                source, group = next(iter(sources.items()))
                self.warnings.append(source.mistake_at(1, 1, f"group {group} uses {python}, and {problem}"))
            elif reply is not None:
                for (source, group), answer in zip(sources.items(), reply.files, strict=True):
                    if isinstance(answer, Fault):
                        yield self._unfit(source, answer, group, python)

    def _problem(self, python: str, reply: Reply | None) -> str | None:
        """Why workers cannot run on an interpreter, as far as its answer tells."""
        if reply is None:
            return f"it cannot be asked whether it reads this file: {self._silent[python]}"
        if _number(reply.version) < OLDEST:
            return f"workers need Python {'.'.join(map(str, OLDEST))} or newer; that is {reply.version}"
        return None

    def _own(self, sources: Sequence[Source]) -> Reply:
        return Reply(OWN_VERSION, tuple(self._faults.get(source) for source in sources))

    def _unfit(self, source: Source, fault: Fault, group: str, python: str | None) -> Mistake:
        reader = self._readers.get(source) or f"Python {OWN_VERSION}"
        runs = f"{python}, which is {fault.version}" if python else f"the daemon's own Python, which is {fault.version}"
        hint = f"group {group} uses {runs}; {reader} reads it: set that as its `python`, or write the file for {fault.version}"
        return source.mistake_at(fault.line, fault.column, fault.message, hint)

    def _mistake(self, source: Source, fault: Fault) -> Mistake:
        silent = [f"{python} cannot be asked: {reason}" for python, reason in self._silent.items()]
        return source.mistake_at(fault.line, fault.column, fault.message, "; ".join(silent) or None)

    def _ask(self, python: str, sources: Sequence[Source], *, trees: bool) -> Reply | None:
        if python in self._silent or not sources:
            return None
        try:
            return ask(python, [source.text for source in sources], trees=trees)
        except CannotAsk as error:
            self._silent[python] = str(error)
            return None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
