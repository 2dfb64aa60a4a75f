"""System checks: the project of tako-lite has what the backend needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from django.conf import ENVIRONMENT_VARIABLE
from django.core import checks

from tako_lite.client.project import Project
from tako_lite.config import GroupSettings
from tako_lite.errors import TakoError
from tako_lite.ext.django.options import Options

SETUP: Final = "tako_lite.ext.django:setup"
BRIDGE: Final = """from tako_lite import BlockingStep, workflow
from tako_lite.ext.django import run_task


@workflow("{name}", worker="{{queue}}")
def django_task(payload: dict, step: BlockingStep) -> object:
    return run_task(payload, step)
"""


def check_backend(alias: str, queues: Iterable[str], options: Options) -> Iterator[Any]:
    """The findings about one backend of `TASKS`."""
    try:
        project = Project(options.config)
        config, catalog = project.config(), project.catalog()
    except TakoError as error:
        yield checks.Error(f"TASKS[{alias!r}]: {error.message}", hint=error.hint, id="tako_lite.E001")
        return
    if options.workflow not in catalog.workflows:
        file = config.workflows_path / "django_task.py"
        hint = f"write {file}:\n\n{BRIDGE.format(name=options.workflow)}"
        yield checks.Error(f"TASKS[{alias!r}]: no workflow is named {options.workflow!r}", hint=hint, id="tako_lite.E002")
    for queue in sorted(queues):
        if queue not in config.groups and queue not in catalog.groups:
            hint = f"add [workflows.{queue}] to {config.file or config.root / 'tako.toml'}"
            yield checks.Error(f"TASKS[{alias!r}]: the queue {queue!r} has no worker group", hint=hint, id="tako_lite.E003")
        elif problem := _unprepared(config.group(queue)):
            yield checks.Warning(f"the worker group {queue!r} {problem[0]}", hint=problem[1], id="tako_lite.W002")
    if not project.has_daemon():
        hint = "`manage.py tako serve` starts it; until then tasks are stored"
        yield checks.Warning("no daemon of tako-lite is running", hint=hint, id="tako_lite.W001")


def _unprepared(group: GroupSettings) -> tuple[str, str] | None:
    """What keeps a group from executing tasks, and what to write into tako.toml."""
    if group.setup is None:
        return "does not prepare Django", f'add setup = "{SETUP}" to [workflows] of tako.toml'
    known = (*group.env, *group.env_pass)
    if group.setup == SETUP and not any(fnmatchcase(ENVIRONMENT_VARIABLE, name) for name in known):
        return "does not know the settings", f'add env = {{ {ENVIRONMENT_VARIABLE} = "…" }} to [workflows] of tako.toml'
    return None
