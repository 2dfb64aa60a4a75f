"""docs/monitoring.md lists the series and the codes that exist."""

from __future__ import annotations

from pathlib import Path

from tako_lite.daemon.events import Events
from tako_lite.daemon.log_format import OTHER, UNEXPECTED
from tako_lite.daemon.monitor.catalogue import SERIES
from tests.support.pages import rows, section, words

PAGE = (Path(__file__).resolve().parents[2] / "docs/monitoring.md").read_text(encoding="utf-8")


def test_every_series_is_documented_with_its_type_its_labels_and_its_meaning() -> None:
    listed = {}
    for row in rows(section(PAGE, "Metrics")):
        if len(row) == 4:
            (name,) = words(row[0])
            listed[name] = (row[1], " ".join(words(row[2])), row[3])
    assert listed == {name: (about.type, about.labels, about.help) for name, about in SERIES.items()}


def test_every_event_of_the_log_is_documented() -> None:
    events = {name for name in vars(Events) if not name.startswith("_")} | {UNEXPECTED, OTHER}
    tables = [row for row in rows(section(PAGE, "Logs")) if len(row) == 2 and row[0].startswith("`")]
    listed = [word for row in tables for word in words(row[0])]
    assert set(listed) - {"text", "json", "journald", "auto"} - KEYS == events


KEYS = {"at", "level", "event", "group", "run", "worker", "server", "message", "traceback"}
