"""PgBouncer in transaction mode before a server, in the foreground; it ends with the test."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.postgres import OWNER, Server, as_server, new_cluster, remove
from tests.support.postgres_fixtures import require_pooler

SETTINGS: Final = """
[databases]
* = host={socket} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {backends}
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
pidfile = {folder}/pgbouncer.pid
"""


@contextmanager
def pooler(server: Server, database: str, backends: int = 2) -> Iterator[str]:
    """The URL of a database by a pooler that shares so many backends among its clients."""
    require_pooler()
    place = new_cluster()
    place.prepare()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = place.folder / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(socket=server.dsn.partition("host=")[2], user=OWNER, port=port, backends=backends, folder=place.folder)
    )
    with (place.folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["pgbouncer", "-q", str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **as_server()
        )
    try:
        _wait_for(port, process, place.folder / "log")
        yield f"postgresql://{OWNER}@127.0.0.1:{port}/{database}"
    finally:
        process.terminate()
        process.wait()
        remove(place.folder)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.02)
