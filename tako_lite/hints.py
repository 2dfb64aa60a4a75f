"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LONGEST: Final = 128
"""Characters of a word that are compared: no name has more, and the time grows with them."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known name that is nearest to a mistyped one, if any is near."""
    from difflib import get_close_matches  # only needed once something is wrong

    close = get_close_matches(word[:LONGEST], list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else None
