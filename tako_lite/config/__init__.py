"""tako.toml → settings, all mistakes at once.

`files` finds the file, `document` parses it, `values` says what each key accepts, `reading` puts them together and
collects the mistakes, `positions` tells where those are, and `settings` is what comes out.
"""

from tako_lite.config.files import find_file, locate
from tako_lite.config.reading import RESERVED_NAMES, load
from tako_lite.config.settings import Config, GroupSettings, QueueSettings, effective, unreachable

__all__ = [
    "RESERVED_NAMES",
    "Config",
    "GroupSettings",
    "QueueSettings",
    "effective",
    "find_file",
    "load",
    "locate",
    "unreachable",
]
