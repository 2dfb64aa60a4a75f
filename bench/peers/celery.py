"""Celery on Redis with one worker process. Run where celery is installed: `python -m bench.peers.celery FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from celery import Celery
from redis import Redis

from bench.peers.broker import PORT, URL, worker
from bench.peers.clock import arrived
from bench.peers.redis_work import WITNESS, measure

app = Celery("bench.peers.celery", broker=URL)


@app.task(name="nothing", ignore_result=True)
def nothing(payload: dict[str, int]) -> None:
    pass


@app.task(name="note", ignore_result=True)
def note(sent: float) -> None:
    arrived(Path(os.environ[WITNESS]), sent)


def main(folder: Path, count: int) -> dict[str, float]:
    start = partial(worker, "celery", "-A", "bench.peers.celery", "worker", "--concurrency=1", "--loglevel=ERROR")
    connection = Redis(port=PORT)
    return measure(
        folder, count, start, lambda number: nothing.delay({"n": number}), note.delay, lambda: int(connection.llen("celery"))
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
