"""What a decorator says about a workflow: its options, and what is wrong with those that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from tako_lite.backoff import Backoff
from tako_lite.errors import BadInput
from tako_lite.names import NAME, NAME_HINT
from tako_lite.templates import check_template, is_template
from tako_lite.units import RATE_HINT, Rate, duration, parse_rate

CatchUp = Literal["latest", "none", "all"]
Fallback = Literal["wait", "fail", "cancel", "ignore"]
OnLimit = Literal["queue", "cancel", "fail"]
OnChangedSteps = Literal["warn", "hold"]
FALLBACKS: Final[tuple[Fallback, ...]] = ("wait", "fail", "cancel", "ignore")

DEFAULT_BACKOFF: Final = Backoff()
MAX_RETRIES: Final = 1_000_000
MAX_PRIORITY: Final = 1_000_000_000
MAX_LIMIT: Final = 1_000_000
OF_TENANT: Final = "@tenant"
"""Stands for the tenant of a run where a payload field is expected."""
_PATTERN_HINT: Final = 'such as "*" for all, "send-mail", or ["media.*", "send-mail"]'
_FIELD_HINT: Final = f'such as "customer_id" or "customer.id", or "{OF_TENANT}"'


class WorkflowOptions(NamedTuple):
    """The options of a workflow. `timeout` and `priority` are seconds.

    `limit` is how many of its runs are executed at a time, those with one value of `limit_key` counted apart. `rate` is how
    many attempts begin in any stretch of time, with `rate_key` likewise. `on_dead` names the workflows
    whose deaths start a run of it, `on_unhealthy` the groups that do when they become unhealthy; `*` stands for any characters.
    `on_changed_steps` says what becomes of a run that began with other code and does not reach a stored step again.
    """

    worker: str = "default"
    retries: int = 2
    backoff: Backoff = DEFAULT_BACKOFF
    timeout: float | None = None
    schedule: str | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = "latest"
    priority: int = 0
    fallback: Fallback | None = None
    limit: int | None = None
    on_limit: OnLimit = "queue"
    limit_key: str | None = None
    rate: Rate | None = None
    rate_key: str | None = None
    on_dead: tuple[str, ...] = ()
    on_unhealthy: tuple[str, ...] = ()
    on_changed_steps: OnChangedSteps = "warn"

    @property
    def is_hook(self) -> bool:
        """Whether the daemon starts runs of it when something else happens."""
        return bool(self.on_dead or self.on_unhealthy)


class Problem(NamedTuple):
    """What is wrong with one option, without its place in the file."""

    message: str
    hint: str | None = None


def name_problem(name: object, *, decorator: str = "workflow", noun: str = "workflow") -> Problem | None:
    """Why this is not a valid name for a workflow or trigger, or None."""
    if callable(name):
        return Problem(f"@{decorator} needs a name", f'write @{decorator}("a-name")')
    if not isinstance(name, str):
        return Problem(f"the name of a {noun} is text, not {type(name).__name__}")
    return None if NAME.match(name) else Problem(f"{shown(name)} is not a name for a {noun}", NAME_HINT)


def read_values(
    readers: Mapping[str, Callable[[Any], object]], given: Mapping[str, object], decorator: str
) -> tuple[dict[str, Any], dict[str, Problem]]:
    """The values of a decorator's options, and a problem for each invalid or unknown one."""
    values: dict[str, Any] = {}
    problems: dict[str, Problem] = {}
    for option, value in given.items():
        read = readers.get(option)
        if read is None:
            problems[option] = Problem(f"{option} is not an option of @{decorator}")
            continue
        try:
            values[option] = read(value)
        except BadInput as error:
            problems[option] = Problem(f"{option}: {error.message}", error.hint)
    return values, problems


def read_options(given: Mapping[str, object]) -> tuple[WorkflowOptions, dict[str, Problem]]:
    """Read the options, and return a problem for each invalid one, whose default is used.

    Schedules and time zones are only checked to be text: their rules need packages that a worker does not load.
    """
    values, problems = read_values(_READERS, given, "workflow")
    for option, needed, example in _NEED:
        if option in values and values[option] != _DEFAULTS[option] and values.get(needed) is None and needed not in problems:
            problems[option] = Problem(f"{option}: has no effect without a {needed}", f"for example, add {example}")
            del values[option]
    return WorkflowOptions(**values), problems


def _worker(value: object) -> str:
    text = _text(value, NAME_HINT)
    if is_template(text):
        check_template(text)
    elif not NAME.match(text):
        raise BadInput(f"{shown(text)} is not a name for a group", hint=NAME_HINT)
    return text


def _retries(value: object) -> int:
    return _whole(value, 0, MAX_RETRIES)


def _priority(value: object) -> int:
    return _whole(value, -MAX_PRIORITY, MAX_PRIORITY, " of seconds")


def _backoff(value: object) -> Backoff:
    if not isinstance(value, Backoff):
        raise BadInput(f"expected Backoff(…), got {shown(value)}", hint="write Backoff(base=1, max=3600)")
    return value


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    seconds = duration(value)
    if seconds == 0:
        raise BadInput("must be longer than zero", hint="omit it for no timeout")
    return seconds


def _schedule(value: object) -> str | None:
    return None if value is None else _text(value, 'such as "0 3 * * *" or "@daily"')


def _timezone(value: object) -> str:
    return _text(value, 'such as "Europe/Berlin"')


def _catch_up(value: object) -> str:
    return _one_of(value, ("latest", "none", "all"))


def _fallback(value: object) -> str | None:
    return None if value is None else _one_of(value, FALLBACKS)


def _limit(value: object) -> int | None:
    return None if value is None else _whole(value, 1, MAX_LIMIT)


def _on_limit(value: object) -> str:
    return _one_of(value, ("queue", "cancel", "fail"))


def _on_changed_steps(value: object) -> str:
    return _one_of(value, ("warn", "hold"))


def _key(value: object) -> str | None:
    if value is None:
        return None
    field = _text(value, _FIELD_HINT)
    if field == OF_TENANT:
        return field
    try:
        check_template(f"{{{field}}}")
    except BadInput:
        raise BadInput(f"{shown(field)} is not a field of a payload", hint=_FIELD_HINT) from None
    return field


def _patterns(value: object) -> tuple[str, ...]:
    """Names, in which `*` stands for any characters."""
    given = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        raise BadInput(f"expected a name or a list of names, got {shown(value)}", hint=_PATTERN_HINT)
    for pattern in given:
        if not isinstance(pattern, str) or not NAME.match(pattern.replace("*", "x")):
            raise BadInput(f"{shown(pattern)} is not a name, or a name with *", hint=_PATTERN_HINT)
    return tuple(given)


def _rate(value: object) -> Rate | None:
    return None if value is None else parse_rate(_text(value, RATE_HINT))


def _text(value: object, hint: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"expected text, got {shown(value)}", hint=hint)
    return value


def _whole(value: object, low: int, high: int, unit: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadInput(f"expected a whole number{unit} from {low:,} to {high:,}, got {shown(value)}")
    return value


def _one_of(value: object, words: tuple[str, ...]) -> str:
    if value not in words:
        allowed = " or ".join(f'"{word}"' for word in words)
        raise BadInput(f"expected {allowed}, got {shown(value)}")
    return str(value)


def shown(value: object) -> str:
    """A value for a message: ASCII, and cut to 80 characters."""
    try:
        text = ascii(value)
    except ValueError:  # an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 80 else text[:79] + "…"


_READERS: Final[dict[str, Callable[[Any], object]]] = {
    "worker": _worker,
    "retries": _retries,
    "backoff": _backoff,
    "timeout": _timeout,
    "schedule": _schedule,
    "timezone": _timezone,
    "catch_up": _catch_up,
    "priority": _priority,
    "fallback": _fallback,
    "limit": _limit,
    "on_limit": _on_limit,
    "limit_key": _key,
    "rate": _rate,
    "rate_key": _key,
    "on_dead": _patterns,
    "on_unhealthy": _patterns,
    "on_changed_steps": _on_changed_steps,
}
_DEFAULTS: Final[Mapping[str, object]] = {"on_limit": "queue", "limit_key": None, "rate_key": None}
_NEED: Final = (("on_limit", "limit", "limit=1"), ("limit_key", "limit", "limit=1"), ("rate_key", "rate", 'rate="10/s"'))
"""Options that need another option to be set."""
OPTIONS: Final = tuple(_READERS)
