"""The example of Django, for Django 6 or for the backport of its tasks, whichever is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.support.example_app import copy_example


def has_django() -> bool:
    """Whether Django is installed, and with it its tasks or their backport."""
    return tasks_module() is not None


def tasks_module() -> str | None:
    """The module of Django's tasks: `django.tasks`, or `django_tasks` before Django 6."""
    for name in ("django.tasks", "django_tasks"):
        try:
            if importlib.util.find_spec(name) is not None:
                return name
        except ModuleNotFoundError:
            continue
    return None


def copy_site(folder: Path) -> Path:
    """A copy of the example that imports the tasks that are installed."""
    site = copy_example("django", folder)
    for file in (site / "shop").glob("*.py"):
        file.write_text(adapted(file.read_text()))
    return site


def adapted(source: str) -> str:
    """Source with the imports of the tasks that are installed."""
    return source.replace("django.tasks", tasks_module() or "django.tasks")
