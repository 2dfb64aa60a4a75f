"""Which project of tako-lite the settings name."""

from __future__ import annotations

from pathlib import Path

from tako_lite.ext.django.api import task_backends
from tako_lite.ext.django.backend import TakoBackend


def project_of_settings() -> str | Path | None:
    """The `config` of the first backend of `TASKS` that is ours; None, for the usual search, if there is none."""
    ours = (backend for backend in task_backends.all() if isinstance(backend, TakoBackend))
    found = next(ours, None)
    return None if found is None else found.tako.config
