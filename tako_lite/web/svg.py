"""Icons and small charts as SVG: geometry in attributes, colours by classes, because inline styles are forbidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from tako_lite.web.waterfall import Cut, Segment

NEAREST_LABEL: Final = 0.1
"""The part of the width by which two labels are apart at least; one that is nearer is left out."""
LAST_MIDDLE: Final = 0.8
"""The part of the width beyond which a label ends with its cut, so that it stays within the drawing on narrow screens."""
_LINE: Final = 'fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"'
_SHAPES: Final = {
    "due": f'<circle cx="8" cy="8" r="5" {_LINE}/>',
    "scheduled": f'<circle cx="8" cy="8" r="6" {_LINE}/><path d="M8 4.6V8l2.4 1.6" {_LINE}/>',
    "running": '<path d="M4.5 2.8v10.4L13 8z" fill="currentColor"/>',
    "waiting": f'<path d="M5.5 3.5v9M10.5 3.5v9" {_LINE}/>',
    "succeeded": f'<path d="M2.5 8.6 6.2 12.2 13.5 4" {_LINE}/>',
    "cancelled": f'<circle cx="8" cy="8" r="5.6" {_LINE}/><path d="M4.2 11.8 11.8 4.2" {_LINE}/>',
    "dead": f'<path d="M3.5 3.5l9 9M12.5 3.5l-9 9" {_LINE}/>',
    "zero": f'<path d="M11.8 9.9A5 5 0 0 1 6.1 4.2a5 5 0 1 0 5.7 5.7z" {_LINE}/>',
    "starting": f'<circle cx="8" cy="8" r="5.5" {_LINE} stroke-dasharray="3 3"/>',
    "active": '<circle cx="8" cy="8" r="4.6" fill="currentColor"/>',
    "paused": f'<path d="M5.5 3.5v9M10.5 3.5v9" {_LINE}/>',
    "backoff": f'<path d="M12.5 5.2A5.5 5.5 0 1 0 13.5 8" {_LINE}/><path d="M13 2v3.4H9.6" {_LINE}/>',
    "unhealthy": f'<path d="M8 2.2 14.4 13.4H1.6zM8 6.6v3.2M8 11.6v.1" {_LINE}/>',
    "run": '<rect x="3.5" y="3.5" width="9" height="9" rx="1.5" fill="currentColor"/>',
    "sleep": f'<path d="M11.8 9.9A5 5 0 0 1 6.1 4.2a5 5 0 1 0 5.7 5.7z" {_LINE}/>',
    "signal": f'<path d="M4 14V2.8h8l-2 2.8 2 2.8H4" {_LINE}/>',
    "child": f'<path d="M4 3v6.5h8M9.4 6.8 12.2 9.5 9.4 12.2" {_LINE}/>',
    "enqueue": f'<path d="M2.8 8h10M9 4.2 12.8 8 9 11.8" {_LINE}/>',
    "retry": f'<path d="M12.5 5.2A5.5 5.5 0 1 0 13.5 8" {_LINE}/><path d="M13 2v3.4H9.6" {_LINE}/>',
    "warning": f'<path d="M8 2.2 14.4 13.4H1.6zM8 6.6v3.2M8 11.6v.1" {_LINE}/>',
    "search": f'<circle cx="7" cy="7" r="4.4" {_LINE}/><path d="M10.4 10.4 14 14" {_LINE}/>',
    "theme": f'<circle cx="8" cy="8" r="5.6" {_LINE}/><path d="M8 2.4a5.6 5.6 0 0 1 0 11.2z" fill="currentColor"/>',
    "copy": f'<rect x="5.5" y="5.5" width="8" height="8" rx="1.5" {_LINE}/><path d="M10.5 3H3v7.5" {_LINE}/>',
}


def icon(name: str) -> Markup:
    """An icon that stands beside a word which says the same."""
    shape = _SHAPES.get(name, _SHAPES["due"])
    return Markup(f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{shape}</svg>')  # noqa: S704


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> Markup:
    """A line of values from left to right, as high as the largest of them."""
    if len(values) < 2:
        return Markup("")
    top = max(*values, 1)
    step = width / (len(values) - 1)
    points = " ".join(f"{n * step:.1f},{height - 1 - value / top * (height - 2):.1f}" for n, value in enumerate(values))
    return Markup(  # noqa: S704
        f'<svg class="sparkline" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )


def bars(segments: Sequence[Segment], cuts: Sequence[Cut]) -> Markup:
    """One row of a waterfall. Positions are parts of the width, so that the row fits every screen without being scaled."""
    behind = "".join(
        f'<rect class="cut" x="{_part(cut.left)}" y="0" width="{_part(cut.width)}" height="100%"/>' for cut in cuts
    )
    shapes = "".join(map(_bar, segments))
    return Markup(f'<svg class="bars" width="100%" height="24" aria-hidden="true">{behind}{shapes}</svg>')  # noqa: S704


def axis(cuts: Sequence[Cut]) -> Markup:
    """The head of a waterfall: how much time each cut leaves out."""
    labels, last = "", -1.0
    for cut in cuts:
        middle = cut.left + cut.width / 2
        if middle - last >= NEAREST_LABEL:
            last = middle
            anchor, x = ("end", cut.left + cut.width) if middle > LAST_MIDDLE else ("middle", middle)
            labels += f'<text x="{_part(x)}" y="14" text-anchor="{anchor}">⋯ {Markup.escape(cut.label)}</text>'
    return Markup(f'<svg class="bars axis" width="100%" height="20" aria-hidden="true">{labels}</svg>')  # noqa: S704


def _bar(segment: Segment) -> str:
    thin = segment.kind in ("parked", "backoff", "open", "waited")
    y, height = (9, 6) if thin else (5, 14)
    width = max(segment.width, 0.002)
    body = (
        f'<rect class="bar {segment.kind}" x="{_part(segment.left)}" y="{y}" width="{_part(width)}" height="{height}" rx="2">'
        f"<title>{Markup.escape(segment.title)}</title></rect>"
    )
    if not segment.failed:
        return body
    end = segment.left + width
    return body + f'<rect class="bar end" x="{_part(max(0.0, end - 0.004))}" y="3" width="0.4%" height="18"/>'


def _part(part: float) -> str:
    return f"{part * 100:.3f}%"
