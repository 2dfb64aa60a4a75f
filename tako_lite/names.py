"""The pattern of names, and escaping of text for a terminal."""

from __future__ import annotations

import re
from typing import Final

from tako_lite.errors import BadInput

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
"""Names of workflows, triggers, groups, tenants, servers and secrets."""
NAME_HINT: Final = "names are 1 to 128 letters, digits, '.', '_' and '-', and start with a letter or digit"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Replace control characters with visible escapes, so that a terminal does not obey them. Newlines and tabs stay."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def check_event(event: object) -> str:
    """Return a signal's name, such as `approval:order-17`. Raises BadInput unless it has 1 to 256 printable characters."""
    if not isinstance(event, str):
        raise BadInput(f"a signal's name is text, not {type(event).__name__}", hint='such as f"approval:{number}"')
    if not 0 < len(event) <= 256 or printable(event) != event or "\n" in event or "\t" in event:
        raise BadInput(f"{printable(event[:60])!r} is not a name for a signal", hint="1 to 256 printable characters")
    return event
