"""DBOS on PostgreSQL, with fsync. Run where dbos is installed: `python -m bench.peers.dbos_postgresql FOLDER COUNT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.database import cluster
from bench.peers import dbos

if __name__ == "__main__":
    with cluster() as server:
        made = dbos.main(Path(sys.argv[1]), int(sys.argv[2]), lambda name: server.server.make_database(name).url)
    sys.stdout.write(json.dumps(made))
