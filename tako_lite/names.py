"""What a name is, and how text from users is shown."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
"""Names of workflows, triggers, groups, tenants, servers and secrets."""
NAME_HINT: Final = "names are 1 to 128 letters, digits, '.', '_' and '-', and start with a letter or digit"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text from users made safe for a terminal: control characters become visible escapes; newlines and tabs stay."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
