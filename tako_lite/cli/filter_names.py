"""Check of names in filters: an unknown workflow or group is an error, not an empty result."""

from __future__ import annotations

from tako_lite.cli.queue import QueueReader
from tako_lite.errors import CatalogError, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.names import printable
from tako_lite.routing import unknown_group


def check_names(queue: QueueReader, *, workflow: str | None = None, group: str | None = None) -> None:
    """Raise NotFound for a name that neither the project's files nor the runs in the queue have.

    Call it only if nothing was found, so that known names cost nothing.
    """
    try:
        if workflow is not None and not queue.ask("runs", workflow=workflow, limit=1)["runs"]:
            _check_workflow(workflow, [known["name"] for known in queue.ask("workflows")["workflows"]])
        if group is not None and not queue.ask("runs", group=group, limit=1)["runs"]:
            queue.ask("workflows")  # raises CatalogError if the files, which also name groups, have mistakes
            known_groups = [known["name"] for known in queue.ask("status")["groups"]]
            if group not in known_groups:
                raise unknown_group(group, known_groups)
    except CatalogError:  # the files have mistakes, so their names are not known
        return


def _check_workflow(name: str, known: list[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or "`tako-lite workflows` lists the workflows"
        raise NotFound(f'no workflow is named "{printable(name[:128])}"', hint=hint, type="unknown_workflow")
