"""Readers of the values in tako.toml. Each returns the value in its internal form, or raises BadInput."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tako_lite.errors import BadInput, SecretError
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, NAME_HINT
from tako_lite.options import FALLBACKS
from tako_lite.secrets import SecretSource
from tako_lite.states import RUN_STATES, TERMINAL
from tako_lite.store.opening import LONGEST_LEASE, SHORTEST_LEASE, Queue, check_database_url, check_schema, queue_at
from tako_lite.units import duration_text, parse_duration, parse_size, size_text

Reader = Callable[[Any], Any]

RLIMITS: Final = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
DURABILITIES: Final = ("disk", "process")
SECRET_KINDS: Final = ("env", "file")
PASSED: Final = ("PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV")
"""Variables of the daemon's environment that every worker receives."""
PASSED_FAMILIES: Final = ("LC_", "PYTHON")
"""Prefixes of further such variables."""

_COUNTS: Final = frozenset({"nofile", "nproc"})
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATTERN: Final = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]*")
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_SIZE_HINT: Final = 'write a number with a unit, such as "512MB"'
_LONGEST_SHOWN: Final = 60
_LARGEST_ECHOED: Final = 10**9
"""Hints do not repeat larger numbers. Python refuses to print very long ones at all."""


def whole(low: int, high: int) -> Reader:
    """Accepts a whole number from `low` to `high`."""
    allowed = f"must be a whole number from {low:,} to {high:,}"

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            digits = isinstance(value, str) and value.isdecimal() and len(value) < 20
            hint = f"write {value}, without quotes" if digits else None
            raise BadInput(f"{allowed}, not {kind(value)}", hint=hint)
        if not low <= value <= high:
            raise BadInput(allowed)
        return value

    return read


def span(low: float = 0.0) -> Reader:
    """Accepts a duration with a unit, of at least `low` seconds, and returns seconds."""
    least = f" of {duration_text(low)} or more" if low else ""

    def read(value: Any) -> float:
        if not isinstance(value, str):
            number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST_ECHOED
            hint = f'write "{value}s" for seconds' if number else 'such as "30s" or "5m"'
            raise BadInput(f"must be a duration{least} in quotes with a unit, not {kind(value)}", hint=hint)
        seconds = parse_duration(value)
        if seconds < low:
            raise BadInput(f"must be {duration_text(low)} or more")
        return seconds

    return read


def size(low: int) -> Reader:
    """Accepts a size with a unit, of at least `low` bytes, and returns bytes."""
    least = f" of {size_text(low)} or more" if low else ""

    def read(value: Any) -> int:
        if not isinstance(value, str):
            raise BadInput(f"must be a size{least} in quotes with a unit, not {kind(value)}", hint=_SIZE_HINT)
        count = parse_size(value)
        if count < low:
            raise BadInput(f"must be {size_text(low)} or more")
        return count

    return read


def text(value: Any) -> str:
    """Accepts text that is not empty and contains no NUL."""
    if not isinstance(value, str):
        raise BadInput(f"must be text, not {kind(value)}")
    if not value.strip():
        raise BadInput("must not be empty")
    if "\0" in value:
        raise BadInput("must not contain a NUL character")
    return value


def yes_or_no(value: Any) -> bool:
    """Accepts true or false."""
    if not isinstance(value, bool):
        raise BadInput(f"must be true or false, not {kind(value)}")
    return value


def name(value: Any) -> str:
    """Accepts a valid name."""
    if not NAME.fullmatch(text(value)):
        raise BadInput("is not a name", hint=NAME_HINT)
    return str(value)


def fallback(value: Any) -> str:
    """Accepts a fallback: what happens to runs while their group is unavailable."""
    if value not in FALLBACKS:
        near = did_you_mean(value, FALLBACKS) if isinstance(value, str) else None
        raise BadInput("must be " + " or ".join(f'"{word}"' for word in FALLBACKS), hint=near)
    return str(value)


def tenants(value: Any) -> tuple[str, ...]:
    """Accepts the names of tenants."""
    if not isinstance(value, list):
        raise BadInput(f"must be an array of tenants, not {kind(value)}", hint='write ["acme", "globex"]')
    return tuple(dict.fromkeys(name(tenant) for tenant in value))


def folder(root: Path) -> Reader:
    """Accepts the path of a folder or file, and returns the absolute path; `~` is the home folder."""
    return lambda value: located(text(value), root)


def file(root: Path) -> Reader:
    """Accepts the path of a file, and returns the absolute path as text; `~` is the home folder."""
    return lambda value: str(located(text(value), root))


def function(value: Any) -> str:
    """Accepts the place of a function, as `package.module:function`."""
    if not _FUNCTION.fullmatch(text(value)):
        raise BadInput(
            "must name a function of a module", hint='such as "shop.hooks:setup", for `def setup()` in shop/hooks.py'
        )
    return str(value)


def interpreter(root: Path) -> Reader:
    """Accepts a Python interpreter: a name to look up in PATH, or a path, which becomes absolute."""
    return lambda value: str(located(value, root)) if "/" in text(value) else value


def queue(root: Path, state_dir: Path, **settings: Any) -> Reader:
    """Accepts the URL of a queue; returns it with the queue's location. `settings` are those of `queue_at`."""

    def read(value: Any) -> tuple[str, Queue]:
        try:
            return text(value), queue_at(value, root, state_dir=state_dir, **settings)
        except SecretError as error:
            raise BadInput(error.message, hint=error.hint) from None

    return read


def schema(value: Any) -> str:
    """Accepts the name of a schema in PostgreSQL."""
    check_schema(text(value))
    return str(value)


def group_names(value: Any) -> tuple[str, ...]:
    """Accepts the groups that a server serves."""
    if not isinstance(value, list) or not value:
        raise BadInput("must be an array of groups", hint='such as ["gpu", "media"]')
    return tuple(dict.fromkeys(name(each) for each in value))


def database_url(value: Any) -> str:
    """Accepts the URL of a database."""
    check_database_url(text(value))
    return str(value)


def lease(value: Any) -> float:
    """Accepts the time after which the others take a server for dead, and returns seconds."""
    seconds: float = span()(value)
    if not SHORTEST_LEASE <= seconds <= LONGEST_LEASE:
        raise BadInput(
            "must be 15s to 10m", hint="a shorter one takes a slow server for dead, a longer one keeps its runs waiting"
        )
    return seconds


def durability(value: Any) -> str:
    """Accepts "disk" or "process"."""
    if value not in DURABILITIES:
        near = did_you_mean(value, DURABILITIES) if isinstance(value, str) else None
        raise BadInput('must be "disk" or "process"', hint=near)
    return str(value)


def keep_state(state: str) -> Reader:
    """The reader of the retention time of runs in a state; `"forever"` becomes None."""
    if state not in TERMINAL:
        if state in RUN_STATES:
            raise BadInput(f"{shown_name(state)} runs have not ended, so they are always kept")
        states = ", ".join(sorted(TERMINAL))
        raise BadInput("is not a state in which runs end", hint=did_you_mean(state, TERMINAL) or f"those states are: {states}")
    at_least_one_second = span(1.0)
    return lambda value: None if value == "forever" else at_least_one_second(value)


def variable(variable_name: str) -> Reader:
    """The reader of the value of an environment variable."""
    variable_in_environment(variable_name)
    return _variable_value


def variable_in_environment(value: Any) -> str:
    """Accepts the name of an environment variable."""
    if not _VARIABLE.fullmatch(text(value)):
        raise BadInput(
            "is not the name of an environment variable",
            hint="letters, digits and underscores, not beginning with a digit",
        )
    return str(value)


def passed_variable(value: Any) -> str:
    """Accepts the name of an environment variable, or a pattern of names such as `AWS_*`."""
    return str(value) if _PATTERN.fullmatch(text(value)) else variable_in_environment(value)


def secret_source(root: Path) -> Reader:
    """Accepts the source of a secret, `env:NAME` or `file:PATH`. Errors do not show the value: it may be the secret itself."""

    def read(value: Any) -> SecretSource:
        kind, colon, place = text(value).partition(":")
        if kind not in SECRET_KINDS or not place:
            near = did_you_mean(kind, SECRET_KINDS) if colon and place else None
            hint = near or 'such as "env:SMTP_PASSWORD" or "file:/run/secrets/smtp"; the secret itself does not belong here'
            raise BadInput('must be "env:NAME" or "file:PATH"', hint=hint)
        if kind == "file":
            return SecretSource("file", str(located(place, root)))
        if variable_in_environment(place) in PASSED or place.startswith(PASSED_FAMILIES):
            raise BadInput(f"{place} is passed to every worker, so it cannot hold a secret")
        return SecretSource("env", place)

    return read


def _variable_value(value: Any) -> str:
    if isinstance(value, str):
        if "\0" in value:
            raise BadInput("must not contain a NUL character")
        return value
    hint = (
        f'write "{value}"' if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_ECHOED else None
    )
    raise BadInput(f"must be text, not {kind(value)}", hint=hint)


def limit(limit_name: str) -> Reader:
    """The reader of a resource limit: a count, bytes or, for `cpu`, seconds."""
    if limit_name not in RLIMITS:
        hint = did_you_mean(limit_name, RLIMITS) or f"the limits are: {', '.join(RLIMITS)}"
        raise BadInput("is not a resource limit", hint=hint)
    number = whole(0, 1 << 60)
    if limit_name in _COUNTS:
        return number
    if limit_name == "cpu":
        longest = span(1.0)
        return lambda value: math.ceil(longest(value)) if isinstance(value, str) else number(value)
    length = size(0)
    return lambda value: length(value) if isinstance(value, str) else number(value)


def located(path: str, root: Path) -> Path:
    """The absolute form of a path. Relative paths start at the folder of tako.toml, `~` is the home folder."""
    try:
        return Path(os.path.normpath(root / Path(path).expanduser()))
    except RuntimeError as error:
        raise BadInput("the home folder for `~` is unknown") from error


def kind(value: object) -> str:
    """The type of a TOML value, in words for users."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number with a fraction"),
        (str, "text"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((word for type_, word in kinds if isinstance(value, type_)), "a date or time")


def shown_name(name: str) -> str:
    """A name from the file, in backticks. It is shortened, and control characters are replaced."""
    plain = "".join(character if character.isprintable() else "?" for character in name)
    return f"`{plain if len(plain) <= _LONGEST_SHOWN else plain[:_LONGEST_SHOWN] + '…'}`"
