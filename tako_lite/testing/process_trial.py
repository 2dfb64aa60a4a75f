"""The trials of `kill_at_every_step` in which a real daemon's real worker kills itself with SIGKILL."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako_lite.errors import BadInput
from tako_lite.testing.trial import Action, Check, Seen, Trial, complaint_of

if TYPE_CHECKING:
    from tako_lite.testing.real import TestProject
    from tako_lite.testing.scripting import Scripting


@contextmanager
def process_trial(
    tako: Scripting,
    workflow: str,
    payload: Any,
    options: Mapping[str, Any],
    script: Sequence[Action],
    check: Check | None,
    reset: Callable[[], object] | None,
) -> Iterator[Trial]:
    """A trial on a daemon that serves the files of the project. Raises BadInput for what cannot reach its workers."""
    from tako_lite.testing.real import TestProject  # needs what edits tako.toml, which no other trial does

    if tako.script.stubs:
        raise BadInput("stubs do not reach the workers of another process", hint="leave out processes=True")
    if tako.has_own_handles:
        raise BadInput("workers import workflow files, and these workflows are in none", hint="leave out processes=True")
    source = tako.loaded.config.file or tako.loaded.config.root
    with tempfile.TemporaryDirectory(prefix="tako-kill-") as folder, TestProject(Path(folder), project=source) as project:
        project.serve()
        yield _ProcessTrial(project, workflow, payload, options, script, check, reset)


@dataclass
class _ProcessTrial:
    project: TestProject
    workflow: str
    payload: Any
    options: Mapping[str, Any]
    script: Sequence[Action]
    check: Check | None
    reset: Callable[[], object] | None

    def __call__(self, deaths: Sequence[str], seed: int) -> Seen:
        if self.reset is not None:
            self.reset()
        self.project.die_at(self.workflow, list(deaths))
        id = self.project.enqueue(self.workflow, self.payload, **self.options)
        self.project.until_idle()
        for action in self.script:
            verb, *arguments = action
            (verb if callable(verb) else getattr(self.project, verb))(*arguments)
            self.project.settle()
        return self._seen(id, self.project.skip(id))

    def _seen(self, id: str, shown: Mapping[str, Any]) -> Seen:
        reached = self.project.points(id)
        bodies = Counter(line["label"].removeprefix("body:") for line in reached if line["label"].startswith("body:"))
        return Seen(
            shown["state"],
            shown["result"],
            shown["error"],
            {step["name"]: None if step["kind"] == "enqueue" else step["result"] for step in shown["steps"]},
            bodies,
            [line["label"] for line in reached if line["deaths"] == 0],
            [line["label"] for line in reached if line["deaths"] == 1],
            shown["attempts"],
            complaint_of(self.check),
        )
