"""What a page is: a function from a visit to what is shown, as HTML for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from tako_lite.web.daemon import Daemon, daemon_of
from tako_lite.web.rights import User
from tako_lite.web.urls import Urls

if TYPE_CHECKING:
    from tako_lite.store.transitions.transaction import Snapshot
    from tako_lite.web.site import Site

T = TypeVar("T")

READ_LIMIT: Final = 1.5
"""Seconds that one read of the queue may take."""

Document = dict[str, Any]
Watches = Literal["queue", "workers", "nothing"]
"""What changes a page: commits of the queue; these and the state of the workers; or nothing at all."""


@dataclass(frozen=True)
class Visit:
    """One request for a page, by a visitor who may see it."""

    site: Site
    user: User
    urls: Urls
    path: Mapping[str, str]
    """The variable parts of the path."""
    query: Mapping[str, str]
    here: str
    """The address of the page itself, to which its forms lead back."""
    now: int
    """Milliseconds since 1970."""
    status: Document | None
    """The answer to `status`, for a page that watches workers; None for others, and if the daemon does not answer."""

    @cached_property
    def daemon(self) -> Daemon:
        """Whether a daemon serves the queue."""
        return daemon_of(self.site.project)

    def read(self, function: Callable[[Snapshot], T], nothing: T) -> T:
        """What a function of `store.reading` reads, or `nothing` while there is no queue. Raises ReadTimeout, StoreError."""
        return self.site.reader.read(function, nothing, READ_LIMIT)

    def ask(self, command: str, **arguments: Any) -> Document:
        """The answer of the daemon to a command that reads, at most a second old; without a daemon, that of the files."""
        return self.site.live.ask_from_thread(command, arguments)


@dataclass(frozen=True)
class Shown:
    """What a page shows. `document` is the JSON twin, without its schema number; `view` is for the template alone."""

    template: str
    title: str
    document: Document
    view: Document = field(default_factory=dict)
    code: int = 200
    location: str | None = None
    """The address of another page that is shown instead."""


@dataclass(frozen=True)
class Page:
    """A page: its path in the notation of Starlette, the function that makes it, and what it watches."""

    path: str
    show: Callable[[Visit], Shown]
    watches: Watches = "queue"
    clock: int = 86_400
    """Seconds after which the page changes although nothing has happened, because it shows a chart up to now."""
    mark: Callable[[Visit], object] | None = None
    """Something else that changes with the page."""
    right: str | None = None
    """The right that a visitor needs to see it at all."""
