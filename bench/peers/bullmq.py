"""BullMQ on Redis, in Node: `python -m bench.peers.bullmq FOLDER COUNT` runs the script beside this file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.peers.broker import PORT, redis

SCRIPT = Path(__file__).with_suffix(".mjs")


def main(folder: Path, count: int) -> str:
    installed = Path(__file__).parents[2] / "build" / "peers" / "bullmq"
    command = ["node", str(SCRIPT), str(PORT), str(count), str(folder / "witness")]
    with redis(folder):
        return subprocess.run(command, cwd=installed, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1]), int(sys.argv[2])))
