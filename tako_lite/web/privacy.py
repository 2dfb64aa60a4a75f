"""What visitors see of payloads, results and values.

`payloads = "hide"` in `[web]` leaves the keys and the kinds of values, `"never"` leaves nothing, and `redact` of an application
that mounts the dashboard changes them as it likes. This holds for pages and for JSON alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tako_lite.web.page import Document, Visit

_KINDS: tuple[tuple[type, str], ...] = ((bool, "true or false"), (int, "number"), (float, "number"), (str, "text"))


def conceal(visit: Visit, run: Document, *, shown: bool = False) -> Document:
    """A run as this visitor may see it; with `shown`, one whose payload the visitor asked for although it is hidden."""
    concealed = {name: _value(visit, name, run[name], shown) for name in ("payload", "result")}
    if "steps" in run:
        concealed["steps"] = [{**step, "result": _value(visit, "value", step["result"], shown)} for step in run["steps"]]
    if visit.site.redact is not None and run["error"] is not None:
        concealed["error"] = visit.site.redact("error", run["error"])
    return {**run, **concealed}


def _value(visit: Visit, kind: str, value: Any, shown: bool) -> Any:
    if value is None or not visit.user.can("see_payloads"):
        return None
    if visit.site.redact is not None:
        value = visit.site.redact(kind, value)
    return outline(value) if visit.site.settings.payloads == "hide" and not shown else value


def outline(value: Any) -> Any:
    """The keys of a value, with the kinds of what they hold."""
    if isinstance(value, dict):
        return {key: outline(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [outline(value[0])] if value else []
    return next((word for kind, word in _KINDS if isinstance(value, kind)), None)
