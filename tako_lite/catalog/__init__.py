"""Finds workflows and triggers by parsing the workflow files; it never imports them."""

from tako_lite.catalog.files import stamps
from tako_lite.catalog.interpreters import Pythons
from tako_lite.catalog.scanner import scan, survey
from tako_lite.catalog.schedule import cron_of, schedule_problem, timezone_problem
from tako_lite.catalog.specs import Catalog, TriggerSpec, WorkflowSpec

__all__ = [
    "Catalog",
    "Pythons",
    "TriggerSpec",
    "WorkflowSpec",
    "cron_of",
    "scan",
    "schedule_problem",
    "stamps",
    "survey",
    "timezone_problem",
]
