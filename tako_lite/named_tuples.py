"""How named tuples are made where many are."""

from __future__ import annotations

from typing import Any, Final

new_tuple: Final[Any] = tuple.__new__
"""Makes a named tuple of its type and a tuple of all its fields, in less than half the time that calling the type takes.

Nothing counts the fields, and none has a default.
"""
