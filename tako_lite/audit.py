"""Entries of the activity: what a command changed by hand, and who sent it. The daemon and an offline client share this."""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from tako_lite.clock import iso
from tako_lite.names import printable
from tako_lite.protocol.commands import facts_of
from tako_lite.records import Activity, new_id

LONGEST_NOTE: Final = 500
"""Characters of a note that are kept."""
MOST_NAMED: Final = 20
"""How many runs the entry of one command names."""
SOURCES: Final = {"people": ("cli", "web"), "web": ("web",)}
"""The sources for which a command leaves an entry that does not always leave one."""
UNCHANGED: Final = frozenset({"running", "waiting", "ended", "unknown"})
"""Outcomes of an edit that changed nothing."""
_TARGETS: Final = ("group", "workflow", "name", "event", "run_id")
_HIDDEN: Final = frozenset({"payload", "payloads", "run_ids", *_TARGETS})


class Sender(NamedTuple):
    """Who sent a command: what its request says under `by`, and the user of the process at the other end of the socket."""

    by: object = None
    uid: int | None = None

    @property
    def actor(self) -> str:
        """The person whom the dashboard knows, else the name of the user of this machine."""
        named = self._named("actor", 128)
        return user_name(self.uid) if named is None else named

    @property
    def source(self) -> str:
        """The kind of client: `cli`, `web`, `worker` or what a program calls itself; `client` unless it says so."""
        return self._named("source", 32) or "client"

    def _named(self, key: str, length: int) -> str | None:
        value = self.by.get(key) if isinstance(self.by, Mapping) else None
        return printable(value[:length]) if isinstance(value, str) and value else None


WORKER: Final = Sender({"source": "worker"})
"""A handler that uses the client."""
SENDER: ContextVar[Sender] = ContextVar("SENDER", default=WORKER)
"""The sender of the command that is being carried out."""


def user_name(uid: int | None) -> str:
    """The name of a user of this machine; without one, that of this process."""
    uid = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _is_audited(command: str, typed: Any, source: str) -> bool:
    """Whether a command of this source leaves an entry; an enqueue that repeats another run always does."""
    audit = "always" if getattr(typed, "again_of", None) else facts_of(command).audit
    return audit == "always" or (audit is not None and source in SOURCES[audit])


def entry(command: str, typed: Any, answer: Mapping[str, Any], by: Sender, now: int) -> Activity | None:
    """The entry for a command that was carried out, without payloads and values; None if it should leave none."""
    if not _is_audited(command, typed, by.source) or answer.get("outcome") in UNCHANGED:
        return None
    arguments = {name: value for name, value in asdict(typed).items() if value not in (None, False, [])}
    ids: list[str] = arguments.get("run_ids", [])
    target = next((str(arguments[name]) for name in _TARGETS if name in arguments), "")
    detail: dict[str, Any] = {name: value for name, value in arguments.items() if name not in _HIDDEN}
    if "note" in detail:
        detail["note"] = printable(detail["note"][:LONGEST_NOTE])
    if "at" in detail:
        detail["at"] = iso(detail["at"])
    if outcomes := answer.get("outcomes"):
        detail["outcomes"] = dict(Counter(outcomes.values()))
    detail |= {name: answer[name] for name in ("id", "moved", "outcome", "pruned") if name in answer}
    if ids:
        target = ids[0] if len(ids) == 1 else f"{len(ids)} runs"
        detail["runs"] = ids[:MOST_NAMED]
    return Activity(new_id(), now, by.actor, by.source, command, target, detail)
