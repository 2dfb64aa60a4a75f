"""Stored steps that a handler does not ask for again, after its code has changed or for another reason.

Workers compare at the end of an attempt, and `tako_lite.testing.replay` before it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence


def not_reached(stored: Iterable[str], asked: Container[str], stopped_at: Sequence[str] = ()) -> list[str]:
    """The steps with a stored value that the handler did not ask for; `stored` names them in the order in which they ended.

    A handler that was stopped at steps without a stored value had no chance to reach what lies behind them: then the earliest
    ones count, as many as it was stopped at.
    """
    missing = [name for name in stored if name not in asked]
    return missing[: len(stopped_at)] if stopped_at else missing


def sentence(name: str, unknown: Sequence[str] = ()) -> str:
    """What is said of such a step; `unknown` are the steps that the handler asked for and that were not stored."""
    other = f" to `{unknown[0]}`" if len(unknown) == 1 else ""
    return f"stored step `{name}` was not reached again; was it renamed{other}?"


def sentences(names: Sequence[str], unknown: Sequence[str] = ()) -> list[str]:
    """The sentences about steps."""
    return [sentence(name, unknown if len(names) == 1 else ()) for name in names]
