"""Names with fields of the payload in them, such as `media-{tier}` or `{customer.tier}`."""

from __future__ import annotations

import re
from typing import Any, Final

from tako_lite.errors import BadInput
from tako_lite.names import NAME

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_PATH: Final = re.compile(r"[^\s.{}]+(\.[^\s.{}]+)*")
_HINT: Final = 'such as "{tier}" or "media-{customer.tier}"'


def is_template(text: str) -> bool:
    """Whether a name has fields to fill in."""
    return "{" in text or "}" in text


def fields(template: str) -> list[str]:
    """The fields of the payload that a template names, dotted where they are nested."""
    return _FIELD.findall(template)


def check_template(template: str) -> None:
    """Raises BadInput for unmatched braces, and for a template that can never yield a valid name."""
    rest = _FIELD.sub("x", template)
    if is_template(rest) or not all(_PATH.fullmatch(field) for field in fields(template)):
        raise BadInput("the braces of a template must contain the name of a payload field", hint=_HINT)
    if not NAME.match(rest):
        raise BadInput("this template makes no name", hint="names have letters, digits, '.', '_' and '-'")


def fill(template: str, payload: Any) -> str | None:
    """The template with its fields filled in; None where one is missing, blank, or neither text nor an integer."""
    filled = template
    for field in fields(template):
        value = pick(payload, field)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            return None
        filled = filled.replace(f"{{{field}}}", str(value), 1)
    return filled


def may_name(template: str, name: str) -> bool:
    """Whether the template, filled in, can be this name."""
    pattern = "[^{}]+".join(re.escape(part) for part in _FIELD.split(template)[::2])
    return re.fullmatch(pattern, name) is not None


def pick(payload: Any, field: str) -> Any:
    """The value of a field of a payload, None where it is missing."""
    for part in field.split("."):
        if not isinstance(payload, dict):
            return None
        payload = payload.get(part)
    return payload
