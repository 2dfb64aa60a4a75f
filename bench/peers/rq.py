"""RQ on Redis with one worker, which forks for each job. Run where rq is installed: `python -m bench.peers.rq FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from redis import Redis
from rq import Queue

from bench.peers.broker import PORT, URL, worker
from bench.peers.clock import arrived
from bench.peers.redis_work import WITNESS, measure


def nothing(payload: dict[str, int]) -> None:
    pass


def note(sent: float) -> None:
    arrived(Path(os.environ[WITNESS]), sent)


def main(folder: Path, count: int) -> dict[str, float]:
    queue = Queue("work", connection=Redis(port=PORT))
    start = partial(worker, "rq.cli", "worker", "--url", URL, "--quiet", "work")
    return measure(
        folder,
        count,
        start,
        lambda number: queue.enqueue("bench.peers.rq.nothing", {"n": number}),
        partial(queue.enqueue, "bench.peers.rq.note"),
        lambda: len(queue),
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
