"""What visitors do: each action is a command to the daemon, or to the files while none runs, and a right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tako_lite.bulk import CHANGED, STATES
from tako_lite.clock import SystemClock
from tako_lite.errors import BadInput
from tako_lite.protocol.arguments import BulkAction
from tako_lite.units import counted, parse_duration
from tako_lite.web.rights import User
from tako_lite.wire import parse_value

Document = dict[str, Any]

MOST_RUNS: Final = 200
"""Runs that one form may name: more are a matter of a filter."""
TYPED: Final = 1_000
"""The number of runs from which on a person has to type it to confirm a bulk action."""
BULK_WAIT: Final = 1.0
"""Seconds that a form waits for the end of a bulk action, whose page shows its progress."""


class Form:
    """The fields of a form; several may have one name."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for field, value in self._fields if field == name and value]

    def get(self, name: str) -> str | None:
        """The value of a field; None if it is absent or empty."""
        return next(iter(self.all(name)), None)

    def text(self, name: str) -> str:
        """The value of a field. Raises BadInput if it is absent or empty."""
        value = self.get(name)
        if value is None:
            raise BadInput(f"the form has no value for {name}")
        return value

    def number(self, name: str) -> int | None:
        """A whole number; None if the field is absent or empty. Raises BadInput."""
        value = self.get(name)
        if value is None:
            return None
        if not value.removeprefix("-").isdecimal() or len(value) > 19:
            raise BadInput(f"{name} must be a whole number, not {value[:40]!r}")
        return int(value)

    def json(self, name: str, default: Any = None) -> Any:
        """A value that is written as JSON. Raises BadInput."""
        value = self.get(name)
        return default if value is None else parse_value(value, name)


class Done(NamedTuple):
    """What came of an action: a sentence, whether it changed what it was meant to change, and the page to show next."""

    sentence: str
    changed: bool = True
    path: str | None = None
    """The path of the page that shows the outcome; None for the page that the form is on."""


class Action(NamedTuple):
    """An action: the right that it needs, its command, the arguments of a form, and what to say of the answer."""

    right: str
    command: str
    arguments: Callable[[Form], Document]
    """The arguments of the command; those of `enqueue` also need the payload, which the schema of the workflow reads."""
    done: Callable[[Form, Document], Done]
    also: str | None = None
    """A second right that it needs."""

    def is_allowed(self, user: User) -> bool:
        """Whether a visitor has the rights that it needs."""
        return user.can(self.right) and (self.also is None or user.can(self.also))


def _runs(form: Form) -> Document:
    ids = form.all("target")
    if not ids or len(ids) > MOST_RUNS:
        raise BadInput(f"name 1 to {MOST_RUNS} runs")
    return {"run_ids": list(dict.fromkeys(ids))}


_OUTCOMES: Final[Mapping[str, str]] = {
    "cancelled": "cancelled",
    "cancelling": "stopping at its next step",
    "ended": "had ended already",
    "pending": "in the queue again",
    "live": "had not ended",
    "succeeded": "succeeded; enqueue a new run instead",
    "refused": "not retried: its group is unavailable, unknown or closed to its tenant, or at its limit",
    "duplicate": "not retried: another live run has its unique key",
    "discarded": "discarded",
    "not_dead": "not dead",
    "unknown": "no longer in the queue",
    "due": "due now",
    "not_later": "not scheduled for later",
    "moved": "moved",
}


def _outcomes(_: Form, answer: Document) -> Done:
    """One run is spoken of alone, several by the number of each outcome."""
    outcomes: dict[str, str] = answer["outcomes"]
    changed = any(outcome in CHANGED for outcome in outcomes.values())
    if len(outcomes) == 1:
        (outcome,) = outcomes.values()
        return Done(f"The run is {_OUTCOMES[outcome]}." if outcome in _PRESENT else f"The run {_OUTCOMES[outcome]}.", changed)
    counts = Counter(outcomes.values())
    return Done(
        "; ".join(f"{counted(number, 'run')}: {_OUTCOMES[outcome]}" for outcome, number in counts.items()) + ".", changed
    )


_PRESENT: Final = frozenset(_OUTCOMES) - {"ended", "live", "succeeded"}


def _signal(form: Form, answer: Document) -> Done:
    event = form.text("target")
    if answer["stored"]:
        return Done(f"{event} is stored; it woke {counted(answer['woken'], 'run')}.")
    return Done(f"{event} was stored already; its first payload is kept.", changed=False)


def _group(form: Form) -> Document:
    return {"group": form.text("target")}


def _paused(noun: str, word: str) -> Callable[[Form, Document], Done]:
    return lambda form, _: Done(f"{noun} {form.text('target')} is {word}.")


def _scaled(form: Form, _: Document) -> Done:
    workers = form.number("workers")
    what = "has the number of workers in tako.toml again" if workers is None else f"keeps {counted(workers, 'worker')} now"
    return Done(f"Group {form.text('target')} {what}.")


def _reloaded(_: Form, answer: Document) -> Done:
    changed = answer["changed"]
    said = f"Changed: {', '.join(changed)}." if changed else "Nothing changed."
    return Done(" ".join([said, *answer["warnings"]]))


def _enqueue(form: Form) -> Document:
    return {
        "workflow": form.text("target"),
        "run_id": form.get("request"),
        "unique_key": form.get("unique_key"),
        "priority": form.number("priority"),
        "retries": form.number("retries"),
        "worker": form.get("group"),
        "tenant": form.get("tenant"),
        "delay": None if (delay := form.get("delay")) is None else parse_duration(delay),
    }


def _enqueued(_: Form, answer: Document) -> Done:
    said = "An unfinished run has this unique key already." if answer["deduplicated"] else "Enqueued."
    warning = f" {answer['warning']}" if answer.get("warning") else ""
    return Done(f"{said}{warning}", not answer["deduplicated"], f"/runs/{answer['id']}")


def _begun(form: Form, answer: Document) -> Done:
    begun = "is being evaluated" if answer["begun"] else "was being evaluated already"
    return Done(f"Trigger {form.text('target')} {begun} in group {answer['group']}.", answer["begun"])


def _pausing(key: str, paused: bool) -> Callable[[Form], Document]:
    return lambda form: {key: form.text("target"), "paused": paused, **_note(form)}


def _note(form: Form) -> Document:
    note = form.get("note")
    return {"note": note} if note else {}


def _edit(form: Form) -> Document:
    """An empty field leaves its value as it is."""
    delay = form.get("delay")
    at = None if delay is None else SystemClock().now() + round(parse_duration(delay) * 1000)
    return {"run_id": form.text("target"), "at": at, "priority": form.number("priority"), "retries": form.number("retries")}


_NOT_EDITED: Final[Mapping[str, str]] = {
    "running": "It runs now, so it was not changed.",
    "waiting": "It waits and has no time to start at, so it was not changed.",
    "ended": "It had ended already, so it was not changed.",
    "unknown": "It is no longer in the queue.",
}


def _edited(form: Form, answer: Document) -> Done:
    outcome = answer["outcome"]
    changed = outcome == "edited"
    return Done("The run is changed." if changed else _NOT_EDITED[outcome], changed, f"/runs/{form.text('target')}")


def _bulk(form: Form) -> Document:
    expect = form.number("expect")
    if expect is None:
        raise BadInput("the form does not say how many runs were confirmed")
    if expect >= TYPED and form.number("typed") != expect:
        raise BadInput(f"the number that was typed is not {expect}", hint="nothing was changed")
    return {"bulk_id": form.text("request"), "filter": form.json("filter"), "expect": expect, "wait": BULK_WAIT}


def _bulk_of(action: BulkAction) -> Action:
    def arguments(form: Form) -> Document:
        options = {"fresh": form.get("fresh") is not None, "to": form.get("to")}
        return {**_bulk(form), "action": action, **{name: value for name, value in options.items() if value}}

    return Action("bulk", "bulk", arguments, _bulk_begun, also=action)


def _bulk_begun(_: Form, answer: Document) -> Done:
    done = "Done" if answer["done"] else "Started"
    said = f"{done}: {answer['changed']:,} of {counted(answer['matched'], 'run')} changed."
    return Done(said, bool(answer["changed"]) or not answer["done"], f"/activity/{answer['id']}")


def _bulk_stopped(_: Form, answer: Document) -> Done:
    return Done(f"Stopped: {answer['changed']:,} of {counted(answer['matched'], 'run')} changed.")


ACTIONS: Final[Mapping[str, Action]] = {
    "cancel": Action("cancel", "cancel", _runs, _outcomes),
    "retry": Action("retry", "retry", lambda form: {**_runs(form), "fresh": form.get("fresh") is not None}, _outcomes),
    "discard": Action("discard", "discard", _runs, _outcomes),
    "signal": Action(
        "signal", "signal", lambda form: {"event": form.text("target"), "payload": form.json("payload", True)}, _signal
    ),
    "pause": Action("pause", "pause", lambda form: {**_group(form), **_note(form)}, _paused("Group", "paused")),
    "resume": Action("resume", "resume", _group, _paused("Group", "resumed")),
    "scale": Action("scale", "scale", lambda form: {**_group(form), "workers": form.number("workers")}, _scaled),
    "run_now": Action("run_now", "run_now", _runs, _outcomes),
    "move": Action("move", "move", lambda form: {**_runs(form), "to": form.text("to")}, _outcomes),
    "edit": Action("edit", "edit", _edit, _edited),
    **{f"bulk_{action}": _bulk_of(action) for action in STATES},
    "stop_bulk": Action("bulk", "stop_bulk", lambda form: {"bulk_id": form.text("target")}, _bulk_stopped),
    "reload": Action("reload", "reload", lambda _: {}, _reloaded),
    "enqueue": Action("enqueue", "enqueue", _enqueue, _enqueued),
    "schedule_pause": Action("schedule_pause", "pause_schedule", _pausing("workflow", True), _paused("Schedule", "paused")),
    "schedule_resume": Action("schedule_pause", "pause_schedule", _pausing("workflow", False), _paused("Schedule", "resumed")),
    "schedule_run": Action("schedule_run", "run_schedule", lambda form: {"workflow": form.text("target")}, _enqueued),
    "trigger_pause": Action("trigger_pause", "pause_trigger", _pausing("name", True), _paused("Trigger", "paused")),
    "trigger_resume": Action("trigger_pause", "pause_trigger", _pausing("name", False), _paused("Trigger", "resumed")),
    "trigger_run": Action("trigger_run", "run_trigger", lambda form: {"name": form.text("target")}, _begun),
}
"""The actions by the last part of their address: `POST /do/NAME`."""
