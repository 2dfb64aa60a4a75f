"""The statements of PostgreSQL, by file."""

from __future__ import annotations

from tako_lite.store.sql import load

_PACKAGE = "tako_lite.store.postgres"

activity = load(_PACKAGE, "activity")
attempts = load(_PACKAGE, "attempts")
code = load(_PACKAGE, "code")
edits = load(_PACKAGE, "edits")
failures = load(_PACKAGE, "failures")
filters = load(_PACKAGE, "filters")
groups = load(_PACKAGE, "groups")
limits = load(_PACKAGE, "limits")
locks = load(_PACKAGE, "locks")
minutes = load(_PACKAGE, "minutes")
runs = load(_PACKAGE, "runs")
schedules = load(_PACKAGE, "schedules")
servers = load(_PACKAGE, "servers")
signals = load(_PACKAGE, "signals")
steps = load(_PACKAGE, "steps")
triggers = load(_PACKAGE, "triggers")
