"""`[monitor]` and `[logs]` of tako.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tako_lite.config import values
from tako_lite.config.collector import Collector
from tako_lite.config.listen import listen
from tako_lite.config.monitor_settings import LOG_STDOUT, LogSettings, MonitorSettings
from tako_lite.config.values import Reader, shown_name
from tako_lite.errors import BadInput, Mistake
from tako_lite.hints import did_you_mean

TABLES: Final = ("monitor", "logs")
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


def read_monitor(collector: Collector, value: Any, root: Path) -> MonitorSettings:
    """The settings of a table `[monitor]`; mistakes go to the collector, and do not show what may be a token itself."""
    readers: dict[str, Reader] = {
        "listen": listen(root, "127.0.0.1:8257"),
        "token": values.secret_source(root),
        "hosts": _hosts,
        "tenants": values.yes_or_no,
    }
    before = len(collector.mistakes)
    settings = MonitorSettings(**_read(collector, "monitor", value, readers))
    collector.mistakes[before:] = [
        collector.without_value(("monitor", "token"), mistake) if "`token`" in mistake.message else mistake
        for mistake in collector.mistakes[before:]
    ]
    return settings


def read_logs(collector: Collector, value: Any) -> LogSettings:
    """The settings of a table `[logs]`; mistakes go to the collector."""
    return LogSettings(**_read(collector, "logs", value, {"stdout": _stdout, "max_age": values.span(1.0)}))


def open_monitor(collector: Collector, settings: MonitorSettings) -> tuple[Mistake, ...]:
    """A warning where other machines can read the metrics without a token."""
    if settings.listen is None or settings.listen.is_local or settings.token is not None or collector.document is None:
        return ()
    what = f"anyone who reaches {settings.listen} can read the names of groups and workflows, and how many runs they have"
    hint = 'add token = "env:TAKO_MONITOR_TOKEN" to [monitor], or listen on 127.0.0.1'
    return (collector.document.mistake(("monitor", "listen"), what, hint),)


def _read(collector: Collector, name: str, value: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    table = collector.table((name,), value)
    read: dict[str, Any] = {}
    for key in table:
        if key not in readers:
            collector.unknown((name, key), tuple(readers))
        elif (setting := collector.value((name,), table, key, readers[key])) is not None:
            read[key] = setting
    return read


def _hosts(value: Any) -> tuple[str, ...]:
    """Accepts names of hosts; `*.example.com` is every name below."""
    if not isinstance(value, list):
        raise BadInput(f"must be an array of host names, not {values.kind(value)}", hint='write ["tako.example.com"]')
    for host in value:
        if not _HOST.fullmatch(values.text(host)):
            raise BadInput(f"{shown_name(host)} is not the name of a host", hint='such as "tako" or "*.example.com"')
    return tuple(dict.fromkeys(host.lower() for host in value))


def _stdout(value: Any) -> str:
    if value not in LOG_STDOUT:
        near = did_you_mean(value, LOG_STDOUT) if isinstance(value, str) else None
        raise BadInput('must be "json" or "none"', hint=near)
    return str(value)
