"""Converts strictly between JSON and the types that people annotate with.

An annotation is compiled once into a reader; an annotation that JSON cannot express is refused before any value is read. `"12"`
is never an int, `True` is never a number, and an unknown key of a record is a mistake. pydantic models and
`msgspec.Struct` are built by their own libraries, which are never imported here: the user's module has imported them before
it can use one of their classes.
"""

from tako_lite.typed.annotations import convert, converter, read_by
from tako_lite.typed.plain import plain
from tako_lite.typed.reader import Reader

__all__ = ["Reader", "convert", "converter", "plain", "read_by"]
