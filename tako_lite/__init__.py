"""Durable background workflows on one machine, in process pools named after what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tako_lite.backoff import Backoff
from tako_lite.errors import ChildFailed, TakoError
from tako_lite.workflow import Workflow, workflow

if TYPE_CHECKING:
    from tako_lite.blocking import BlockingStep
    from tako_lite.client import AsyncClient, Client
    from tako_lite.secrets import secret
    from tako_lite.step import Step
    from tako_lite.trigger import Trigger, poll

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Backoff",
    "BlockingStep",
    "ChildFailed",
    "Client",
    "Step",
    "TakoError",
    "Trigger",
    "Workflow",
    "poll",
    "secret",
    "workflow",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, to start fast: most workers need no client, and a client needs no step.
    if name in ("AsyncClient", "Client"):
        from tako_lite import client

        return getattr(client, name)
    if name in ("BlockingStep", "Step"):
        from tako_lite import blocking

        return getattr(blocking, name)
    if name == "secret":
        from tako_lite import secrets

        return secrets.secret
    if name in ("Trigger", "poll"):
        from tako_lite import trigger

        return getattr(trigger, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
