"""What the daemon and an offline client share when they answer a command."""

from __future__ import annotations

from tako_lite.protocol.arguments import Filter
from tako_lite.store.base import RunFilter


def run_filter(chosen: Filter) -> RunFilter:
    """The filter of the store for the arguments of `runs` and `ids`. Raises BadInput."""
    return RunFilter(chosen.workflow, chosen.group, chosen.run_states(), chosen.made_since(), chosen.before)
