"""tako.toml → settings, all mistakes at once.

`files` finds the file, `document` parses it, `values` says what each key accepts, `reading` puts them together and
collects the mistakes, `positions` tells where those are, and `settings` is what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tako_lite.config.files import find_file, locate

if TYPE_CHECKING:
    from tako_lite.config.reader import RESERVED_NAMES, Examined, examine, examine_text, load, load_text
    from tako_lite.config.routes import misrouted
    from tako_lite.config.secrets import unreadable_secrets
    from tako_lite.config.settings import Config, GroupSettings, QueueSettings, effective, unreachable

__all__ = [
    "RESERVED_NAMES",
    "Config",
    "Examined",
    "GroupSettings",
    "QueueSettings",
    "effective",
    "examine",
    "examine_text",
    "find_file",
    "load",
    "load_text",
    "locate",
    "misrouted",
    "unreachable",
    "unreadable_secrets",
]


def __getattr__(name: str) -> Any:
    # A client that a daemon answers needs to find the file and never to read it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tako_lite.config import reader, routes, secrets, settings

    return getattr(next(module for module in (reader, settings, routes, secrets) if hasattr(module, name)), name)
