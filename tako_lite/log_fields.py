"""Lines of JSON in the output of workers, as structured loggers write them."""

from __future__ import annotations

import json
from typing import Any


def fields_of(text: str) -> dict[str, Any] | None:
    """The object in a line of JSON; None for any other line."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
