"""What `groups` and `config` report of worker groups: their settings with the source of each, and their state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tako_lite.clock import SystemClock
from tako_lite.config import effective
from tako_lite.store.base import NO_COUNTS

if TYPE_CHECKING:
    from tako_lite.catalog import Catalog
    from tako_lite.config import Config

Settings = dict[str, dict[str, Any]]
"""The settings of one group, each as `{"value": …, "source": …}`."""


def described_groups(snapshot: dict[str, Any], config: Config, catalog: Catalog | None) -> list[dict[str, Any]]:
    """The groups of a `status` snapshot, each with its settings and workflows as this configuration describes them."""
    states = {group["name"]: group for group in snapshot["groups"]}
    found = []
    for name, settings in effective_groups(config, catalog, states).items():
        state = states.get(name) or _state_of_new(name, settings)
        described = {
            "description": settings["description"]["value"],
            "allowed_tenants": settings["allowed_tenants"]["value"],
            "fallback": settings["fallback"]["value"] or "wait",
            "fallback_source": settings["fallback"]["source"],
            "workflows": [spec.name for spec in catalog.group(name)] if catalog else [],
        }
        found.append({**state, **described, "settings": settings})
    return found


def effective_groups(config: Config, catalog: Catalog | None, others: Iterable[str] = ()) -> dict[str, Settings]:
    """The settings of the groups of tako.toml, then of those that only decorators name, then of others."""
    names = [*config.groups, *(sorted(catalog.groups) if catalog else ()), *others]
    groups = effective(config, list(dict.fromkeys(names)))
    _apply_scales(config, groups)
    return groups


def _apply_scales(config: Config, groups: dict[str, Settings]) -> None:
    """Replace the numbers of tako.toml with those that `tako-lite scale` stored in the queue."""
    queue = config.queue.location.open_offline(config.queue.durability, SystemClock())
    scales = {name: override.scale for name, override in queue.list_group_overrides().items() if override.scale is not None}
    for name in scales.keys() & groups.keys():
        settings = groups[name]
        settings["workers"] = {"value": scales[name], "source": "tako-lite scale"}
        if settings["max_workers"]["value"] < scales[name]:
            settings["max_workers"] = settings["workers"]


def _state_of_new(name: str, settings: Settings) -> dict[str, Any]:
    """The state of a group that the daemon has not read from the files yet."""
    pool = {"name": name, "state": "zero", "servers": [], "workers": [], "busy": 0, "last_error": None}
    sizes = {"min_workers": "workers", "max_workers": "max_workers", "concurrency": "concurrency"}
    return {**pool, **{key: settings[setting]["value"] for key, setting in sizes.items()}, **NO_COUNTS.as_json(0)}
