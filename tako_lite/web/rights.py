"""What the visitors of the dashboard may do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tako_lite.config.web_settings import EVERYTHING, RIGHTS, WebSettings

ALL: Final = frozenset(RIGHTS)
READING: Final = frozenset({"see_payloads", "see_logs"})
"""What `read_only` leaves."""


class User(NamedTuple):
    """A visitor: a name for the audit trail, and the words of `may` that apply."""

    name: str
    may: frozenset[str] = ALL

    def can(self, right: str) -> bool:
        """Whether this visitor has a right."""
        return right in self.may


def visitor(name: str, settings: WebSettings) -> User:
    """The visitor of a name, with the rights that the settings grant."""
    granted = _rights(settings.users.get(name, settings.may))
    if settings.read_only:
        granted &= READING
    return User(name, granted - {"see_payloads"} if settings.payloads == "never" else granted)


def _rights(words: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(words)
    return ALL if EVERYTHING in chosen else chosen & ALL
