"""Dramatiq on Redis, one process of eight threads. Run where it is installed: `python -m bench.peers.dramatiq FOLDER COUNT`."""
# mypy: disable-error-code="import-not-found,untyped-decorator"

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.broker import URL, worker
from bench.peers.clock import arrived
from bench.peers.redis_work import WITNESS, measure

broker = RedisBroker(url=URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def nothing(payload: dict[str, int]) -> None:
    pass


@dramatiq.actor
def note(sent: float) -> None:
    arrived(Path(os.environ[WITNESS]), sent)


def main(folder: Path, count: int) -> dict[str, float]:
    start = partial(worker, "dramatiq", "bench.peers.dramatiq", "--processes", "1", "--threads", "8")
    left = partial(broker.do_qsize, "default")
    return measure(folder, count, start, lambda number: nothing.send({"n": number}), note.send, left)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
