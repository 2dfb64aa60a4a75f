"""The limits of the catalog for the store, and the runs that a held run waits for, in words."""

from __future__ import annotations

from tako_lite.catalog import Catalog
from tako_lite.records import Run
from tako_lite.store.base import Limit, Store
from tako_lite.why import limit_holders


def limits_of(catalog: Catalog) -> dict[str, Limit]:
    """The workflows that have a limit or a rate."""
    every = ((spec.name, spec.options) for spec in catalog.workflows.values())
    return {
        name: Limit(options.limit, options.on_limit, options.limit_key, options.rate, options.rate_key)
        for name, options in every
        if options.limit is not None or options.rate is not None
    }


async def crowd_before(run: Run, catalog: Catalog, store: Store, now: int) -> str | None:
    """The runs that a held run waits for, in words; None if it waits for none."""
    spec = catalog.workflows.get(run.workflow)
    if spec is None or run.hold is None or run.state != "pending":
        return None
    if run.hold.endswith("limit"):
        return limit_holders(run, await store.count_runs_beside(run, None), None, spec.options.limit)
    if run.hold.endswith("rate") and (rate := spec.options.rate) is not None:
        begun = await store.count_runs_beside(run, now - round(rate.seconds * 1000))
        return limit_holders(run, begun, rate.seconds, rate.most)
    return None
