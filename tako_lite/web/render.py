"""Templates: made of what a page shows and of its frame, with everything escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from tako_lite.clock import iso
from tako_lite.records import new_id
from tako_lite.states import begun
from tako_lite.web import ansi, svg, text
from tako_lite.web.assets import asset_path, fingerprint
from tako_lite.web.frame import Frame
from tako_lite.web.page import Shown, Visit

FILTERS = {
    "age": text.age,
    "as_json": text.as_json,
    "clock": text.clock,
    "counted": text.counted,
    "iso": iso,
    "milliseconds": text.milliseconds,
    "number": text.number,
    "one_line": text.one_line,
    "plain": text.plain,
    "short_id": text.short_id,
    "size": text.size,
    "span": text.span,
    "took": text.took,
    "with_times": text.with_times,
}


@cache
def environment() -> jinja2.Environment:
    """The environment of the templates, which are read through the package: that may be a zip file."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tako_lite.web", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    made.globals.update(about=text.about, begun=begun, coloured=ansi.pieces)
    made.globals.update(axis=svg.axis, bars=svg.bars, icon=svg.icon, sparkline=svg.sparkline)
    return made


def render(shown: Shown, frame: Frame, visit: Visit, *, version: str, live: bool, said: str) -> str:
    """The HTML of a page; with `live` only its live parts, which a page that is open replaces."""
    template = environment().get_template(shown.template)
    values: dict[str, Any] = {
        "layout": "live.html" if live else "page.html",
        "frame": frame,
        "title": shown.title,
        "visit": visit,
        "project": visit.site.config.name,
        "server": visit.site.config.server,
        "url": visit.urls,
        "asset": lambda name: visit.urls(asset_path(name)),
        "assets_version": fingerprint(),
        "can": visit.user.can,
        "now": visit.now,
        "now_iso": iso(visit.now),
        "version": version,
        "said": said,
        "here": visit.here,
        "here_path": visit.here.partition("?")[0].removeprefix(visit.urls.base),
        "new_id": new_id,
        "refresh": visit.site.settings.refresh,
        "doc": shown.document,
        **shown.view,
    }
    return template.render(values)
