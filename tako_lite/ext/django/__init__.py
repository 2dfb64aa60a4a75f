"""Tasks of Django (`TASKS`) that tako-lite executes, and what workflows of a Django project need.

Works with `django.tasks` of Django 6, and with the package `django-tasks` for older releases. `TakoBackend` enqueues,
`run_task` executes a task in a worker, `setup` prepares the worker. The package is also an app: `manage.py tako`, and checks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tako_lite.ext.django.backend import TakoBackend
    from tako_lite.ext.django.dashboard import staff_user, with_dashboard
    from tako_lite.ext.django.worker import fresh_connections, run_task, setup

__all__ = ["TakoBackend", "fresh_connections", "run_task", "setup", "staff_user", "with_dashboard"]

_PLACES: Final = {
    "TakoBackend": "backend",
    "fresh_connections": "worker",
    "run_task": "worker",
    "setup": "worker",
    "staff_user": "dashboard",
    "with_dashboard": "dashboard",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: Django imports this package as an app before its settings are complete.
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
