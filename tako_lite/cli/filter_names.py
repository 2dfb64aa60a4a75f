"""Names in filters: one that nothing has ever had is a slip of the pen, and no answer that happens to be empty."""

from __future__ import annotations

from tako_lite.cli.queue import Queue
from tako_lite.errors import CatalogError, NotFound
from tako_lite.hints import did_you_mean
from tako_lite.names import printable
from tako_lite.routing import unknown_group


def check_names(queue: Queue, *, workflow: str | None = None, group: str | None = None) -> None:
    """Raise NotFound for a name that neither the files of the project nor the runs in its queue know.

    It is asked where nothing was found, so that a name which is known costs nothing.
    """
    try:
        if workflow is not None and not queue.ask("runs", workflow=workflow, limit=1)["runs"]:
            _check_workflow(workflow, [known["name"] for known in queue.ask("workflows")["workflows"]])
        if group is not None and not queue.ask("runs", group=group, limit=1)["runs"]:
            queue.ask("workflows")  # they name groups too
            known_groups = [known["name"] for known in queue.ask("status")["groups"]]
            if group not in known_groups:
                raise unknown_group(group, known_groups)
    except CatalogError:  # nobody can say what they would name
        return


def _check_workflow(name: str, known: list[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or "`tako-lite workflows` lists them all"
        raise NotFound(f'no workflow is named "{printable(name[:128])}"', hint=hint, type="unknown_workflow")
