"""What a reload means for runs that are under way: which of them began with other code, and which workflows are gone."""

from __future__ import annotations

from typing import Any, NamedTuple

from tako_lite.catalog import Catalog
from tako_lite.store.base import OtherCode, Store
from tako_lite.units import counted


class Vanished(NamedTuple):
    """A workflow that no file defines any more, and how many of its runs are queued."""

    workflow: str
    runs: int

    def __str__(self) -> str:
        left = f"; {counted(self.runs, 'run')} of it {'waits' if self.runs == 1 else 'wait'}" if self.runs else ""
        return f"no workflow file defines {self.workflow} any more{left}"

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "message": str(self)}


class ChangedCode(NamedTuple):
    """What has changed under the runs of the queue."""

    other: list[OtherCode]
    vanished: list[Vanished]

    def as_json(self) -> dict[str, Any]:
        """What the answer of `reload` says of it."""
        return {
            "other_code": [
                {"workflow": found.workflow, "runs": found.number, "oldest": found.oldest, "message": _about(found)}
                for found in self.other
            ],
            "vanished": [gone.as_json() for gone in self.vanished],
        }

    def sentences(self) -> list[str]:
        """The same as sentences."""
        return [*map(_about, self.other), *map(str, self.vanished)]


async def compare_code(store: Store, old: Catalog, new: Catalog) -> ChangedCode:
    """Compare the runs of the queue with a catalog that has replaced another. Raises what reading the queue raises."""
    gone = sorted(new.gone_since(old))
    queued = await store.count_queued_by_workflow() if gone else {}
    return ChangedCode(await store.list_other_code(), [Vanished(name, queued.get(name, 0)) for name in gone])


def about_held(found: OtherCode) -> str:
    """The sentence about runs of a workflow that are held."""
    runs = f"{counted(found.number, 'run')} of {found.workflow} {'is' if found.number == 1 else 'are'}"
    return f"{runs} held, because the code has changed: tako-lite why {found.oldest[-8:]} says what to do"


def _about(found: OtherCode) -> str:
    runs = f"{counted(found.number, 'waiting run')} of {found.workflow} began with other code"
    return f"{runs}, the oldest is {found.oldest}: tako-lite replay --all-waiting compares them with the current code"
