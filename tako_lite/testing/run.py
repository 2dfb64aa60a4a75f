"""A run as a test sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tako_lite.clock import milliseconds
from tako_lite.reached import sentences
from tako_lite.states import TERMINAL, RunState

if TYPE_CHECKING:
    from tako_lite.testing.harness import Harness


_ErrorType = type[BaseException]


class Event(NamedTuple):
    """Something that happened to a run, by the clock of the test."""

    at: datetime
    what: str


class TestRun:
    """A run in the queue of a `Tako`. Each attribute is read anew, so a run shows what it is now."""

    __test__ = False  # for pytest

    def __init__(self, tako: Harness, id: str) -> None:
        self.id = id
        self._tako = tako

    def __repr__(self) -> str:
        if self._tako.is_closed:
            return f"<run {self.id[-8:]} of a Tako that is closed>"
        shown = self._read()
        about = f" for {waits}" if (waits := _waits_for(shown)) else f" (hold {shown['hold']})" if shown["hold"] else ""
        error = shown["error"]
        about += f": {error['type']}: {error['message']}" if error else ""
        result = f" → {shown['result']!r}" if shown["state"] == "succeeded" else ""
        return f"<run {self.id[-8:]} of {shown['workflow']}({shown['payload']!r}) {shown['state']}{about}{result}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TestRun) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _read(self) -> dict[str, Any]:
        return self._tako.read_run(self.id)

    def _look(self) -> dict[str, Any]:
        """Read the run. From then on, the test counts as knowing that it died."""
        shown = self._read()
        if shown["state"] == "dead":
            self._tako.looked_at.add(self.id)
        return shown

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        return str(self._read()["workflow"])

    @property
    def group(self) -> str:
        """The name of its worker group."""
        return str(self._read()["group"])

    @property
    def payload(self) -> Any:
        """Its payload, as JSON has it."""
        return self._read()["payload"]

    @property
    def state(self) -> RunState:
        """`pending`, `running`, `waiting`, `succeeded`, `cancelled` or `dead`."""
        state: RunState = self._look()["state"]
        return state

    @property
    def result(self) -> Any:
        """What its handler returned, as JSON has it; None before."""
        return self._look()["result"]

    @property
    def error(self) -> dict[str, Any] | None:
        """The last error: `type`, `message`, `traceback` and `reason`."""
        error: dict[str, Any] | None = self._look()["error"]
        return error

    @property
    def attempts(self) -> int:
        """The number of attempts that were charged."""
        return int(self._read()["attempts"])

    @property
    def crashes(self) -> int:
        """How often its worker died."""
        return int(self._read()["crashes"])

    @property
    def steps(self) -> dict[str, Any]:
        """The values of the steps that succeeded, by name, in the order in which the handler asked for them."""
        return {step["name"]: step["result"] for step in self._read()["steps"] if step["state"] == "succeeded"}

    @property
    def step_names(self) -> list[str]:
        """The names of the steps that succeeded."""
        return list(self.steps)

    @property
    def waits_for(self) -> str | None:
        """What it waits for, such as `signal approval:17` or `sleep nap`; None if it does not wait."""
        return _waits_for(self._read())

    @property
    def hold(self) -> str | None:
        """Why it may not start although it is due, such as `changed_steps` or `limit`; None if it may."""
        hold: str | None = self._read()["hold"]
        return hold

    @property
    def not_reached(self) -> list[str]:
        """The stored steps that its handler did not ask for again, see `on_changed_steps`."""
        return list(self._read()["not_reached"])

    @property
    def due(self) -> datetime:
        """When it is due, or was."""
        return datetime.fromisoformat(self._read()["run_at"])

    @property
    def progress(self) -> float | None:
        """The last fraction that its handler reported."""
        progress: float | None = self._read()["progress"]
        return progress

    @property
    def log(self) -> str:
        """What its handler printed and logged."""
        return "\n".join(self._tako.log_of(self.id))

    @property
    def children(self) -> list[TestRun]:
        """The runs that it started with `step.invoke` and `step.enqueue`."""
        return self._tako.children(self)

    @property
    def parent(self) -> TestRun | None:
        """The run that started it."""
        parent = self._read()["parent"]
        return None if parent is None else TestRun(self._tako, parent)

    @property
    def history(self) -> list[Event]:
        """What happened to it: when it was enqueued, its attempts, its steps, its end."""
        return history_of(self._read())

    @property
    def data(self) -> Mapping[str, Any]:
        """Everything about it, in the format of `tako-lite show --json`."""
        return self._look()

    # Asserting

    @property
    def succeeded(self) -> Any:
        """Its result. Raises AssertionError with its error and its log if it has not succeeded."""
        shown = self._look()
        if shown["state"] != "succeeded":
            raise AssertionError(f"{self!r} has not succeeded{self._explained(shown)}")
        return shown["result"]

    def failed_with(self, type: str | _ErrorType | None = None, match: str | None = None) -> str:
        """The message of its error. Raises AssertionError unless it is dead, with this type, and `match` is found in it."""
        shown = self._look()
        error = shown["error"] or {"type": "", "message": ""}
        if shown["state"] != "dead":
            raise AssertionError(f"{self!r} has not failed{self._explained(shown)}")
        wanted = type if type is None or isinstance(type, str) else type.__name__
        if wanted is not None and error["type"] != wanted:
            raise AssertionError(f"{self!r} failed with {error['type']}, not with {wanted}{self._explained(shown)}")
        if match is not None and not re.search(match, error["message"]):
            raise AssertionError(f"the error of {self!r} does not match {match!r}{self._explained(shown)}")
        return str(error["message"])

    @property
    def cancelled(self) -> str:
        """The reason for which it was cancelled. Raises AssertionError unless it was."""
        shown = self._look()
        if shown["state"] != "cancelled":
            raise AssertionError(f"{self!r} was not cancelled{self._explained(shown)}")
        return str((shown["error"] or {}).get("message", ""))

    @property
    def has_ended(self) -> bool:
        """Whether it is in a final state."""
        return self._look()["state"] in TERMINAL

    def _explained(self, shown: Mapping[str, Any]) -> str:
        parts = [(shown["error"] or {}).get("traceback") or "", *self._tako.log_of(self.id)]
        if shown["state"] in ("pending", "waiting"):
            parts += [f"it is held: {about}" for about in sentences(shown["not_reached"]) if shown["hold"] == "changed_steps"]
            parts.append(f"virtual time is {self._tako.now.isoformat()}; the run is due at {shown['run_at']}")
        text = "\n".join(part for part in parts if part)
        return f"\n{text}" if text else ""


def _waits_for(shown: Mapping[str, Any]) -> str | None:
    if shown["state"] != "waiting":
        return None
    waits = shown["waits"]
    return ", ".join(f"{wait['kind']} {wait['key'] if wait['kind'] == 'signal' else wait['name']}" for wait in waits) or None


def history_of(shown: Mapping[str, Any]) -> list[Event]:
    """The events of a run that is in the format of `show`, oldest first."""
    stored = (step for step in shown["steps"] if step["state"] == "succeeded")
    found = [
        (shown["created_at"], "enqueued"),
        *((step["finished_at"] or step["started_at"], f"step {step['name']} stored") for step in stored),
    ]
    for attempt in shown["history"]:
        noun = f"step {attempt['step']}: try" if attempt["step"] else "attempt"
        if not (attempt["step"] and attempt["kind"] == "succeeded"):
            found.append((attempt["ended_at"], f"{noun} {attempt['number']} {attempt['kind']}"))
    if shown["finished_at"] is not None:
        found.append((shown["finished_at"], shown["state"]))
    return [Event(datetime.fromisoformat(at), what) for at, what in sorted(found, key=lambda event: milliseconds(event[0]))]
