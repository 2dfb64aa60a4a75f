"""The app: `INSTALLED_APPS = [..., "tako_lite.ext.django"]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
from django.apps import AppConfig, apps
from django.core import checks


class TakoConfig(AppConfig):
    """`manage.py tako`, system checks, and the rights of the dashboard as permissions."""

    name = "tako_lite.ext.django"
    label = "tako"
    verbose_name = "tako-lite"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of all backends, unless Django 6 or the app of the backport does that."""
        from tako_lite.ext.django import api  # noqa: F401

        if django.VERSION < (6,) and not apps.is_installed("django_tasks"):
            checks.register(_check_backends)


def _check_backends(app_configs: Any, **kwargs: Any) -> Iterator[Any]:
    from tako_lite.ext.django.api import task_backends

    for backend in task_backends.all():
        yield from backend.check()
