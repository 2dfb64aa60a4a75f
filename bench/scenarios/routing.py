"""What routing costs beside all else that an enqueue takes: a row made with many tables, against one made without any."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

from bench.figures import Goal, Plan
from bench.served import NO_OP, Served, pool, warm_up
from tako_lite.catalog import scan
from tako_lite.client import Client
from tako_lite.config import load
from tako_lite.enqueue_request import EnqueueRequest
from tako_lite.new_run import make_run
from tako_lite.routing import Router

MOST_RUNS = 99
GOALS = {
    "share": Goal("routing by 20 rules, a namespace and a tenant: part of a lone enqueue", "×", most=0.05),
    "template": Goal("the same where the group is a template over the payload", "×", most=0.05),
}
TABLES = (
    "".join(f'[[defaults]]\nmatch = "report-{number}-*"\nretries = {number}\n' for number in range(20))
    + '[namespaces.billing]\nfallback = "fail"\n[tenants.acme]\nworker = "default"\n[workflows.gold]\nworkers = 0\n'
)
PAYLOAD = json.dumps({"tier": "gold", "key": "cat.jpg", "size": [1024, 768]})


def measure(plan: Plan) -> dict[str, float]:
    with Served(plan, pool(10), NO_OP) as project:
        warm_up(project)
        project.pause("default")
        lone = _lone(project.root, plan.size(2_000, 500))
    plain = _making(plan.folder / "plain", "", "", None)
    tables = _making(plan.folder / "tables", TABLES, "", "acme")
    template = _making(plan.folder / "template", TABLES, ', worker="{tier}"', "acme")
    return {"share": (tables - plain) / lone, "template": (template - plain) / lone}


def _lone(root: Path, count: int) -> float:
    """Seconds of a lone enqueue, one after the other."""
    with Client(root) as client:
        client.call("workflows")
        start = time.perf_counter()
        for number in range(count):
            client.enqueue("work", {"n": number})
        return (time.perf_counter() - start) / count


def _making(root: Path, toml: str, options: str, tenant: str | None) -> float:
    """Seconds in which the row of a run is made."""
    file = root / "workflows" / "billing" / "work.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'from tako_lite import workflow\n@workflow("work"{options})\ndef work(payload): ...\n')
    (root / "tako.toml").write_text(toml)
    config = load(root)
    catalog = scan(config.workflows_path, root, config.routes)
    router = Router(config.routes, {"default", *config.groups})
    workflow, request = catalog.get("work"), EnqueueRequest(tenant=tenant)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(500):
            make_run(workflow, PAYLOAD, request, router, 1_000_000)
        times.append((time.perf_counter() - start) / 500)
    return median(times)
