"""The catalog: every workflow by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tako_lite.catalog.payload import PayloadType
from tako_lite.errors import Mistake, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.options import WorkflowOptions
from tako_lite.routing import Plan, Routes
from tako_lite.stamps import FileStamp
from tako_lite.templates import is_template
from tako_lite.trigger_options import EVALUATION, TriggerOptions

NO_PLAN: Final = Plan()


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A workflow as its source describes it.

    `module` is the name that a worker imports (`workflows.billing.eu.invoice`), `namespace` the sub-package that contains it
    (`billing.eu`, or empty), `line` that of the `def`. `plan` is the routing of its runs.
    """

    name: str
    options: WorkflowOptions
    module: str
    namespace: str
    function: str
    file: Path
    line: int
    written: frozenset[str] = frozenset()
    """The options that the decorator sets."""
    plan: Plan = NO_PLAN
    payload: PayloadType | None = field(default=None, repr=False, compare=False)
    annotation: str | None = field(default=None, repr=False, compare=False)
    """The annotation of the payload, as the source has it; None if there is none."""

    @property
    def group(self) -> str:
        """The group whose workers import its module when they start."""
        return self.plan.default_group

    def routed(self, routes: Routes) -> WorkflowSpec:
        """The workflow with the settings of tako.toml applied."""
        plan = routes.plan(self.name, self.namespace, self.options, self.written)
        return replace(self, plan=plan, options=routes.options(self.name, self.options, self.written))


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """A polling trigger as its source describes it; each of its evaluations is a run of the workflow `evaluation`."""

    name: str
    options: TriggerOptions
    evaluation: WorkflowSpec

    @property
    def group(self) -> str:
        """The group whose workers evaluate it."""
        return self.evaluation.group


@dataclass(frozen=True, slots=True)
class Catalog:
    """All workflows and triggers under one folder.

    `root` is the folder of tako.toml, `files` the stamp of every Python file that the scan read: a change is noticed without
    another scan.
    """

    root: Path
    workflows: Mapping[str, WorkflowSpec]
    warnings: tuple[Mistake, ...] = ()
    files: Mapping[Path, FileStamp] = field(default_factory=dict)
    triggers: Mapping[str, TriggerSpec] = field(default_factory=dict)

    @property
    def groups(self) -> frozenset[str]:
        """The groups that decorators name: they exist with or without a table of their own."""
        named = (spec.options.worker for spec in self._handlers())
        return frozenset(name for name in named if not is_template(name))

    @property
    def named(self) -> frozenset[str]:
        """The groups that decorators name, and the templates for groups."""
        return self.groups | {spec.options.worker for spec in self.workflows.values()}

    def group(self, name: str) -> list[WorkflowSpec]:
        """The workflows of a group, by name."""
        return sorted((spec for spec in self.workflows.values() if spec.group == name), key=lambda spec: spec.name)

    def modules(self, group: str) -> list[str]:
        """The modules that define the workflows and triggers of a group: its workers import them."""
        return sorted({spec.module for spec in self._handlers() if spec.group == group})

    def _handlers(self) -> Iterator[WorkflowSpec]:
        yield from self.workflows.values()
        yield from (trigger.evaluation for trigger in self.triggers.values())

    def evaluated(self, workflow: str) -> WorkflowSpec | None:
        """The trigger whose evaluations are runs of this name, or None."""
        trigger = self.triggers.get(workflow.removeprefix(EVALUATION)) if workflow.startswith(EVALUATION) else None
        return None if trigger is None else trigger.evaluation

    def as_json(self) -> list[dict[str, Any]]:
        """The workflows by name, in the format of `workflows`, with files relative to `root`."""
        return [
            {
                "name": spec.name,
                "group": spec.group,
                "file": str(spec.file.relative_to(self.root)) if spec.file.is_relative_to(self.root) else str(spec.file),
                "line": spec.line,
                "schedule": spec.options.schedule,
                "retries": spec.options.retries,
                "payload": spec.annotation,
            }
            for _, spec in sorted(self.workflows.items())
        ]

    def gone_since(self, old: Catalog) -> set[str]:
        """The workflows of an older catalog that no file defines any more."""
        return {*old.workflows} - {*self.workflows}

    def get(self, name: str) -> WorkflowSpec:
        """The workflow of this name; NotFound (`unknown_workflow`) with a hint if there is none."""
        spec = self.workflows.get(name)
        if spec is not None:
            return spec
        if trigger := self.triggers.get(name):
            started = trigger.options.starts
            hint = f"`{name}` is a trigger, which starts runs of {started}: `tako-lite triggers run {name}` evaluates it now"
        elif not self.workflows:
            hint = f"{self.root} has no workflow files; a client needs them while no daemon runs"
        else:
            hint = did_you_mean(name, self.workflows) or "run `tako-lite workflows` for a list"
        raise NotFound(f'no workflow is named "{name[:128]}"', hint=hint, type="unknown_workflow")

    def trigger(self, name: str) -> TriggerSpec:
        """The trigger of this name; NotFound (`unknown_trigger`) with a hint if there is none."""
        spec = self.triggers.get(name)
        if spec is not None:
            return spec
        hint = did_you_mean(name, self.triggers) or "run `tako-lite triggers` for a list"
        raise NotFound(f'no trigger is named "{name[:128]}"', hint=hint, type="unknown_trigger")
