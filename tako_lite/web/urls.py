"""The addresses of the dashboard, below whatever path it is served at."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z")
"""The form of a base path."""


class Urls(NamedTuple):
    """Makes every address. `base` is the path that the dashboard is served at, without a slash at its end."""

    base: str = ""

    def __call__(self, path: str, /, **query: object) -> str:
        """The address of a path of the dashboard; parameters that are None or empty are left out."""
        chosen = [(name.rstrip("_"), str(value)) for name, value in query.items() if value not in (None, "")]
        return f"{self.base}{quote(path)}{'?' if chosen else ''}{urlencode(chosen)}"

    def within(self, address: str | None) -> str:
        """An address that a form names as the next page, if it is a path below the base; else the first page.

        A second slash or a backslash would make browsers read it as the address of another host.
        """
        first = f"{self.base}/"
        if address is None or not address.startswith(first) or address[1:2] in ("/", "\\") or "\\" in address:
            return first
        if not address.isprintable() or "/../" in address or address[len(self.base) :].startswith("//"):
            return first
        return address
