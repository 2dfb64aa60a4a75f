"""`python -m bench.peers`: the same work through the peers and through tako-lite, in turn, and the ratios."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.figures import Plan, amount
from bench.machine import describe
from bench.report import save
from bench.scenarios import drain, enqueue_lone, latency, postgresql, three_step
from tests.support.postgres import missing

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENTS: Final = ROOT / "build" / "peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """What to install for a peer (with spaces between packages), how many runs it gets, and the program that it needs."""

    package: str
    count: int
    quick: int
    program: str | None = None
    is_node: bool = False
    """Whether it is installed by npm."""
    on_postgresql: bool = False
    """Whether it is held against tako-lite on PostgreSQL."""


PEERS: Final = {
    "huey": Peer("huey", 4_000, 1_500),
    "dbos": Peer("dbos", 400, 200),
    "celery": Peer("celery[redis]", 2_000, 800, "redis-server"),
    "rq": Peer("rq", 600, 300, "redis-server"),
    "dramatiq": Peer("dramatiq[redis]", 4_000, 1_500, "redis-server"),
    "taskiq": Peer("taskiq-redis", 4_000, 1_500, "redis-server"),
    "bullmq": Peer("bullmq ioredis", 4_000, 1_500, "redis-server", is_node=True),
    "dbos_postgresql": Peer("dbos", 800, 200, on_postgresql=True),
    "procrastinate": Peer("procrastinate psycopg[binary]", 2_000, 600, on_postgresql=True),
}
FIGURES: Final = {
    "drain": ("drain, one worker process", "/s", "drain_10"),
    "drain_100": ("drain, ours at concurrency 100", "/s", "drain_100"),
    "three_step": ("three-step workflows", "/s", "three_step"),
    "enqueue_one": ("enqueue, one producer", "/s", "enqueue_one"),
    "latency_p50": ("latency, p50", "ms", "latency_p50"),
    "latency_p99": ("latency, p99", "ms", "latency_p99"),
}
"""What a figure of a peer is called, its unit, and which of ours it is held against."""
GOALS: Final = {("huey", "drain"): 4.0, ("procrastinate", "drain_100"): 8.0, ("dbos_postgresql", "three_step"): 20.0}
"""By peer and figure, how much better ours should be."""
ON_POSTGRESQL: Final = "tako-lite on PostgreSQL"

Values = dict[str, dict[str, list[float]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 if the goal is missed."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := set(asked.peers) - set(PEERS):
        parser.error(f"there is no peer {min(unknown)}; there are {', '.join(PEERS)}")
    chosen = [name for name in asked.peers or PEERS if _is_possible(name)]
    values: Values = defaultdict(lambda: defaultdict(list))
    for name in chosen:
        _prepare(name)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="tako-peers-") as folder:
        plan = Plan(Path(folder), asked.quick)
        ours = ["tako-lite", *([ON_POSTGRESQL] if any(PEERS[name].on_postgresql for name in chosen) else [])]
        machine = describe(plan.folder, plan.loop)
        for run in range(asked.runs or (1 if asked.quick else 3)):
            for name in [*ours, *chosen]:
                sys.stderr.write(f"{run + 1} {name}\n")
                figures = _theirs(name, plan) if name in PEERS else _ours(plan, on_postgresql=name == ON_POSTGRESQL)
                for key, value in figures.items():
                    values[name][key].append(value)
    medians = {name: {key: median(runs) for key, runs in of_peer.items()} for name, of_peer in values.items()}
    sys.stdout.write("\n".join(_table(medians)) + "\n")
    if asked.json:
        save({"schema": 1, "machine": machine, "peers": medians}, asked.json)
    missed = [ratio for name, key, ratio in _ratios(medians) if ratio < GOALS.get((name, key), 0)]
    return 1 if missed else 0


def _is_possible(name: str) -> bool:
    program = PEERS[name].program
    if PEERS[name].is_node and not (shutil.which("node") and shutil.which("npm")):
        sys.stdout.write(f"{name} is left out: node and npm are not on the PATH\n")
        return False
    if PEERS[name].on_postgresql and (lacking := missing()) is not None:
        sys.stdout.write(f"{name} is left out: {lacking}\n")
        return False
    if program is None or shutil.which(program) or _install(program):
        return True
    sys.stdout.write(f"{name} is left out: {program} is not on the PATH, and only root can install it\n")
    return False


def _install(program: str) -> bool:
    """Install Debian's package of a program; returns whether it is there then."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", program]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    return shutil.which(program) is not None


def _prepare(name: str) -> None:
    """A virtual environment with the peer in it, unless it is there."""
    environment = ENVIRONMENTS / name
    if (environment / "ready").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    if PEERS[name].is_node:
        node = [
            "npm",
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--prefix",
            str(environment),
            *PEERS[name].package.split(),
        ]
        subprocess.run(node, check=True, stdout=subprocess.DEVNULL)
        (environment / "ready").touch()
        return
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", *PEERS[name].package.split()]
    subprocess.run([str(environment / "bin" / "python"), *install], check=True)
    (environment / "ready").touch()


def _ours(plan: Plan, *, on_postgresql: bool) -> dict[str, float]:
    if on_postgresql:
        return {**postgresql.beside_peers(plan)}
    drains = drain.measure(plan)
    times = latency.measure(plan)
    return {
        "drain_10": drains["concurrency_10"],
        "drain_100": drains["concurrency_100"],
        "three_step": three_step.measure(plan)["workflows"],
        "enqueue_one": enqueue_lone.measure(plan)["one"],
        "latency_p50": times["p50"],
        "latency_p99": times["p99"],
    }


def _theirs(name: str, plan: Plan) -> dict[str, float]:
    """The figures that a peer's program prints."""
    peer = PEERS[name]
    folder = Path(tempfile.mkdtemp(dir=plan.folder, prefix=f"{name}-"))
    binaries = ENVIRONMENTS / name / "bin"
    command = [str(binaries / "python"), "-m", f"bench.peers.{name}", str(folder), str(plan.size(peer.count, peer.quick))]
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, check=False)
    if ended.returncode:
        raise RuntimeError(f"{name} failed: {(folder / 'log').read_text()[-4000:]}")
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures


def _ratios(medians: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Each peer and figure that both have, and how many times better ours is."""
    for name, theirs in medians.items():
        if name not in PEERS:
            continue
        ours = medians[ON_POSTGRESQL if PEERS[name].on_postgresql else "tako-lite"]
        for key, (_, unit, held_against) in FIGURES.items():
            value, mine = theirs.get("drain" if key == "drain_100" else key), ours[held_against]
            if value is not None:
                yield name, key, value / mine if unit == "ms" else mine / value


def _table(medians: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"{'peer':16}  {'what':32}  {'peer':>12}  {'tako-lite':>12}  better by"
    for name, key, ratio in _ratios(medians):
        what, unit, held_against = FIGURES[key]
        value = medians[name]["drain" if key == "drain_100" else key]
        mine = medians[ON_POSTGRESQL if PEERS[name].on_postgresql else "tako-lite"][held_against]
        least = GOALS.get((name, key))
        goal = "" if least is None else f"  (goal ≥ {least:g}: {'ok' if ratio >= least else 'MISS'})"
        yield f"{name:16}  {what:32}  {f'{amount(value)} {unit}':>12}  {f'{amount(mine)} {unit}':>12}  × {ratio:.2f}{goal}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="peer", help=f"of: {', '.join(PEERS)}")
    parser.add_argument("--runs", type=int, metavar="N", help="how often each is measured (default 3, quick 1)")
    parser.add_argument("--quick", action="store_true", help="less work in each run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the medians go as JSON")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="the disk to measure (default: that of temporary files)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
