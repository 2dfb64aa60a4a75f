"""How a server takes part in a queue that several serve: the contract between the daemon and a backend that allows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tako_lite.clock import iso
from tako_lite.errors import TakoError


class ServerFacts(NamedTuple):
    """What a server says about itself when it joins. `groups` is None for one that serves all groups.

    `server_id` stays the same when the daemon of a folder starts again on the same machine.
    """

    server_id: str
    name: str
    host: str
    program: str
    groups: tuple[str, ...] | None
    workflows: frozenset[str]


class GroupState(NamedTuple):
    """What a server says about a group that it serves."""

    available: bool
    trouble: str | None
    state: str
    workers: int
    max_workers: int
    slots: int
    busy: int


class OtherServer(NamedTuple):
    """A server that lives, as its row says. Times are in milliseconds since 1970."""

    boot_id: str
    name: str
    host: str
    program: str
    groups: tuple[str, ...] | None
    joined_at: int
    lease_until: int
    states: Mapping[str, GroupState]

    def serves(self, group: str) -> bool:
        """Whether it serves a group."""
        return self.groups is None or group in self.groups

    def as_json(self, names: Collection[str]) -> dict[str, Any]:
        """The shape of `status`; `names` are the groups that the project names."""
        return {
            "name": self.name,
            "host": self.host,
            "groups": sorted(names if self.groups is None else self.groups),
            "workers": sum(state.workers for state in self.states.values()),
            "started_at": iso(self.joined_at),
            "lease_until": iso(self.lease_until),
            "version": self.program,
        }


@dataclass(slots=True)
class News:
    """What one server has others hear, or what a look at the queue found. Hints: each look finds what a lost one would tell."""

    work: set[str] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)
    due: list[int] = field(default_factory=list)
    """When delayed runs are due that other programs stored."""
    signals: bool = False
    """Whether a transaction of a user has stored a signal whose waits have not ended."""
    cancel: list[str] = field(default_factory=list)
    """Running runs whose cancellation was requested."""
    resolved: list[tuple[str, str]] = field(default_factory=list)
    """Waits of running runs that have ended: run and name."""
    ended: list[str] = field(default_factory=list)
    """Runs that have ended and that somebody waits for."""
    awaited: list[str] = field(default_factory=list)
    """Runs that somebody waits for at the server that tells it."""
    again: bool = False
    """Whether a program may store more runs without a notification."""
    changed: bool = False
    """Whether what people set for groups, schedules or triggers has changed."""
    orphans: bool = False
    """Whether runs belong to a server that has ended."""
    claims: list[tuple[str, int]] = field(default_factory=list)
    """The runs that the queue says this server has, each with its token; only of a look."""

    def __bool__(self) -> bool:
        return any(getattr(self, each) for each in self.__slots__)


class Listener(NamedTuple):
    """What a membership calls, on the event loop; never after `leave`."""

    renewed: Callable[[float], None]
    """The lease was renewed; the argument is when that was sent, by the clock that runs while the machine is suspended."""
    lost: Callable[[TakoError], None]
    """The lease is lost for good: another server has ended this one."""
    heard: Callable[[News], None]
    looked: Callable[[News], None]
    """As `heard`, for what a look found; called with each."""
    announced: Callable[[], None]
    """The workflows that this server has are known to all servers now."""
    trouble: Callable[[str | None], None]
    """Why the lease cannot be renewed, or None once it can."""
    unsent: Callable[[str], None]
    """Why notifications could not be sent; the looks of the others find what they would have told."""


class Membership(Protocol):
    """The part of a store that only backends with several servers have."""

    lease: float
    """Seconds."""
    others: tuple[OtherServer, ...]
    """The other servers that live, as of the last look."""
    elsewhere: frozenset[str]
    """The workflows that other live servers have and this one has not."""
    listens: bool
    """Whether notifications arrive; without them, a look each second takes their place."""

    async def join(self, facts: ServerFacts, listener: Listener, waiting: Callable[[str], None]) -> None:
        """Become a server of the queue. `waiting` is told what it waits for.

        Raises AlreadyServing for a name that another live server has, and StoreError.
        """

    async def leave(self) -> None:
        """End the lease, once no worker lives any more, so that the others need not wait for it."""

    def announce(self, workflows: frozenset[str], states: Mapping[str, GroupState]) -> None:
        """Tell the others which workflows this server has, and how its groups are."""

    def tell(self, news: News) -> None:
        """Have the others hear something soon; several within 50 ms go together."""

    def look_soon(self) -> None:
        """Look at the queue now."""

    def abandon(self) -> None:
        """Cut the writing connection: what it waits for has no effect any more."""
