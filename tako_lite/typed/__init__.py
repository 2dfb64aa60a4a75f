"""From JSON to the types that people annotate with, strictly, and back.

An annotation is compiled once into a reader; what it cannot mean is refused then, before any value is seen. `"12"` is
never an int, `True` is never a number, and a key that a record does not have is a mistake. pydantic models and
`msgspec.Struct` are built by their own libraries, which are never imported here: a class of theirs can only arrive when
the user's module has imported them.
"""

from tako_lite.typed.annotations import convert, converter, read_by
from tako_lite.typed.plain import plain
from tako_lite.typed.reader import Reader

__all__ = ["Reader", "convert", "converter", "plain", "read_by"]
