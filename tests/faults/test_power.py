"""The power fails at any moment: what a disk may hold then is put together from a trace of a real daemon, and opened.

`POWER=30 python -m pytest -s --timeout 900 tests/faults/test_power.py` tries 32 disks at each moment, instead of one.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tako_lite.store.sqlite.file import Durability, connect
from tests.support.disk_shim import FILES, FOLDER, QUEUE, SYNC, TRUNCATE, UNLINK, WAL, WRITE, Change, Shim
from tests.support.project import Project

pytestmark = [pytest.mark.sqlite, pytest.mark.long]

SECTOR: Final = 512
"""Bytes that a disk writes as a whole."""

WORK = """
    def sequence():
        with open({control!r}, "rb") as control:
            return int.from_bytes(control.read(8), "little")

    def measure(text):
        return len(text)

    @workflow("work")
    async def work(payload, step: Step):
        size = await step.run("measure", measure, payload)
        witness("saved", run=step.run_id, value=size, sequence=sequence())
        return size + 1
"""


Fate = Callable[[Change], Iterator[Change]]
"""What a power cut leaves of a change that was not synced: all, nothing, or pieces."""


class Fact(NamedTuple):
    """What somebody was told when so many changes were made: a run is stored, its step is, or it has ended."""

    sequence: int
    kind: str
    run: str
    value: Any = None


class Disk:
    """The files as they surely are, and the changes that the disk has been given and may lose, tear or do in any order."""

    def __init__(self) -> None:
        self.kept: dict[int, bytearray | None] = dict.fromkeys(range(len(FILES)))
        self.pending: dict[int, list[Change]] = defaultdict(list)

    def take(self, change: Change) -> None:
        """Go on to the next change."""
        if change.operation != SYNC:
            self.pending[change.file].append(change)
            return
        for file, changes in self.pending.items():
            if file == change.file:
                surely = len(changes)
            else:  # which files there are is synced with any file
                surely = max((number + 1 for number, other in enumerate(changes) if other.operation == UNLINK), default=0)
            self.kept[file] = _applied(self.kept[file], changes[:surely])
            del changes[:surely]

    def after(self, survives: Fate) -> dict[int, bytearray | None]:
        """The files after a power cut, where this is what becomes of each change that was not synced."""
        found = {}
        for file, kept in self.kept.items():
            changes = [left for change in self.pending[file] for left in survives(change)]
            gone = [number for number, change in enumerate(self.pending[file]) if change.operation == UNLINK]
            if gone and not any(change.operation == UNLINK for change in changes):
                changes = [change for change in changes if change.sequence < self.pending[file][gone[0]].sequence]
            found[file] = _applied(kept, changes)
        return found


def _applied(content: bytearray | None, changes: list[Change]) -> bytearray | None:
    if not changes:
        return content
    content = None if content is None else bytearray(content)
    for change in changes:
        if change.operation == UNLINK:
            content = None
            continue
        content = bytearray() if content is None else content
        end = change.offset + len(change.data)
        content.extend(bytes(max(end - len(content), 0)))
        if change.operation == TRUNCATE:
            del content[end:]
        else:
            content[change.offset : end] = change.data
    return content


def nothing(change: Change) -> Iterator[Change]:
    """The disk kept all of it in its cache."""
    yield from ()


def everything(change: Change) -> Iterator[Change]:
    yield change


def some(dice: random.Random) -> Fate:
    """Some changes are lost, some are there, and of some writes a few sectors are."""

    def survives(change: Change) -> Iterator[Change]:
        fate = dice.random()
        if fate < 0.4:
            yield change
        elif fate < 0.8 and change.data:
            for start in range(0, len(change.data), SECTOR):
                if dice.random() < 0.5:
                    yield change._replace(offset=change.offset + start, data=change.data[start : start + SECTOR])

    return survives


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the disks of after the power cut are laid out: in memory, where there is room for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


def lay_out(files: dict[int, bytearray | None], folder: Path) -> Path:
    """Write the files; the path of the queue."""
    for name in ("queue.db-shm", *FILES):
        (folder / name).unlink(missing_ok=True)
    for file, content in files.items():
        if content is not None:
            (folder / FILES[file]).write_bytes(content)
    return folder / FILES[QUEUE]


def lost(queue: Path, facts: list[Fact]) -> list[str]:
    """What somebody was told and is not so, once the queue was opened as a daemon opens it."""
    with closing(connect(queue, "process")) as connection:
        found = [f"quick_check: {fault}" for (fault,) in connection.execute("PRAGMA quick_check") if fault != "ok"]
        rows = {id: (state, result) for id, state, result in connection.execute("SELECT id, state, result FROM runs")}
        steps = dict(connection.execute("SELECT run_id, result FROM steps"))
    for fact in facts:
        state, result = rows.get(fact.run, ("", None))
        if not state:
            found.append(f"{fact.run} is not there, but it was {fact.kind}")
        elif fact.kind == "ended" and (state, result) != ("succeeded", json.dumps(fact.value)):
            found.append(f"{fact.run} ended, and is {state}")
        elif fact.kind == "saved" and steps.get(fact.run) != json.dumps(fact.value):
            found.append(f"the step of {fact.run} was saved, and is {steps.get(fact.run)}")
    return found


def traced(project: Project, shim: Shim, durability: Durability) -> tuple[list[Change], list[Fact]]:
    """A real daemon works through some runs; every change of its files, and who was told what meanwhile.

    The large payloads fill the log to where it is checkpointed and begun anew, with the daemon at work.
    """
    project.configure(f'[queue]\ndurability = "{durability}"\n')
    project.workflow("a.py", WORK.format(control=str(shim.control)))
    project.serve(**shim.environment(trace=True))
    facts = []
    with project.client() as client:
        for size in (*[10] * 6, *[900_000] * 4, *[10] * 6, *[900_000] * 4, *[10] * 6):
            run_id = client.enqueue("work", "x" * size).id
            facts.append(Fact(shim.sequence, "acked", run_id))
            if size == 10:
                value = client.wait(run_id, timeout=10)["result"]
                facts.append(Fact(shim.sequence, "ended", run_id, value))
    assert project.stop() == 0
    facts += [Fact(fact["sequence"], "saved", fact["run"], fact["value"]) for fact in project.facts("saved")]
    return shim.trace(), facts


def losses(
    changes: list[Change], facts: list[Fact], folder: Path, fates: Callable[[bool], list[Fate]]
) -> tuple[int, list[str]]:
    """Cut the power before each sync and after each fact: how many disks that gives, and what was lost on them."""
    disk = Disk()
    disks, found = 0, []
    moments = {fact.sequence for fact in facts}
    for number, change in enumerate([*changes, None]):
        told = number in moments
        if told or change is None or change.operation == SYNC:
            known = [fact for fact in facts if fact.sequence <= number]
            for fate in fates(told):
                queue = lay_out(disk.after(fate), folder)
                found += [f"before change {number}, {fate.__qualname__}: {what}" for what in lost(queue, known)]
                disks += 1
        if change is not None:
            disk.take(change)
    return disks, found


def chosen() -> Callable[[bool], list[Fate]]:
    """Fates for each power cut: the worst one where somebody was just told something, else one of the others in turn.

    Or all of them, with as many random ones as `POWER` says.
    """
    random_ones = some(random.Random(1))
    turns = cycle([everything, random_ones])
    many = int(os.environ.get("POWER", "0"))
    every = [nothing, everything, *[random_ones] * many]
    return lambda told: every if many else [nothing if told else next(turns)]


def test_a_power_failure_at_any_moment_loses_nothing_that_was_acknowledged(project: Project, shim: Shim, folder: Path) -> None:
    changes, facts = traced(project, shim, "disk")
    assert [change.sequence for change in changes] == list(range(len(changes)))
    assert shim.count(SYNC, FOLDER) == 1, "the name of the folder that it made was synced"
    begun = sum((change.file, change.operation, change.offset) == (WAL, WRITE, 0) for change in changes)
    assert begun >= 3, "its log was checkpointed and begun anew while it worked"
    disks, found = losses(changes, facts, folder, chosen())
    print(f"{len(changes)} changes, {len(facts)} facts, {disks} disks")
    assert found == []


def test_without_syncs_the_same_power_cuts_lose_runs_and_damage_nothing(project: Project, shim: Shim, folder: Path) -> None:
    changes, facts = traced(project, shim, "process")
    disks, found = losses(changes, facts, folder, chosen())
    print(f"{disks} disks, {len(found)} facts lost")
    assert any("is not there, but it was acked" in what for what in found)
    assert not any("quick_check" in what for what in found)
