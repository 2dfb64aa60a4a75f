"""The `OPTIONS` of a backend in `TASKS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from tako_lite.hints import did_you_mean


@dataclass(frozen=True, slots=True)
class Options:
    """What `OPTIONS` may say.

    `config` is that of `Client`. `enqueue_on_commit` is true, false, or the alias of the database whose transaction counts.
    `retries` replaces those of the bridge workflow. A priority of 1 is a head start of `priority_seconds`.
    """

    config: str | Path | None = None
    enqueue_on_commit: bool | str = True
    retries: int | None = None
    priority_seconds: int = 6
    workflow: str = "django-task"


def read_options(alias: str, given: Mapping[str, Any]) -> Options:
    """The options of a backend. Raises ImproperlyConfigured for an unknown one."""
    known = [field.name for field in fields(Options)]
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"options: {', '.join(known)}"
            raise ImproperlyConfigured(f"TASKS[{alias!r}]['OPTIONS']: {name!r} is not an option of TakoBackend; {hint}")
    return Options(**given)
