"""The settings of a project as `dev` uses them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tako_lite.config import Config
from tako_lite.config.listen import Listen
from tako_lite.config.settings import group_settings

IDLE_TIMEOUT: Final = 3.0
"""Seconds: short enough that people see groups scale to zero, unless tako.toml says otherwise."""
_ALL: Final = ("workflows",)


def for_development(config: Config, dashboard: Listen | None) -> Config:
    """The settings with a short `idle_timeout` and without fsync, where tako.toml does not set these itself.

    The dashboard listens where `[web]` says, else at `dashboard`; with None, nowhere.
    """
    tables = {**config.tables, _ALL: {"idle_timeout": IDLE_TIMEOUT, **config.tables.get(_ALL, {})}}
    groups = {name: group_settings(tables, name, config.server) for name in config.groups}
    listen = None if dashboard is None else config.web.listen or dashboard
    return replace(
        config,
        tables=tables,
        groups=groups,
        queue=config.queue if _says_durability(config) else replace(config.queue, durability="process"),
        web=replace(config.web, listen=listen, autostart=True),
    )


def _says_durability(config: Config) -> bool:
    said = config.document.tables.get("queue", {}) if config.document else {}
    return "durability" in said
