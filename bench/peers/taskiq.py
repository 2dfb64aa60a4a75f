"""taskiq on Redis with one worker process. Run where it is installed: `python -m bench.peers.taskiq FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

from redis import Redis
from taskiq_redis import ListQueueBroker

from bench.peers.broker import PORT, URL, worker
from bench.peers.clock import arrived
from bench.peers.redis_work import WITNESS, measure

QUEUE = "work"
broker = ListQueueBroker(URL, queue_name=QUEUE, socket_timeout=None)  # its worker waits in one long read


@broker.task(task_name="nothing")
async def nothing(payload: dict[str, int]) -> None:
    pass


@broker.task(task_name="note")
async def note(sent: float) -> None:
    arrived(Path(os.environ[WITNESS]), sent)


def main(folder: Path, count: int) -> dict[str, float]:
    start = partial(worker, "taskiq", "worker", "bench.peers.taskiq:broker", "--workers", "1", "--log-level", "ERROR")
    connection = Redis(port=PORT)
    with asyncio.Runner() as runner:
        figures = measure(
            folder,
            count,
            start,
            lambda number: runner.run(nothing.kiq({"n": number})),
            lambda sent: runner.run(note.kiq(sent)),
            lambda: int(connection.llen(QUEUE)),
        )
        runner.run(broker.shutdown())
    return figures


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
