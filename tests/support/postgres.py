"""Throw-away PostgreSQL servers, which never outlive the test run, however that ends.

The processes of one test run share a server, which the first test that asks for it makes. It listens on a Unix socket only, in
a folder below /tmp that belongs to the user of the server: PostgreSQL refuses to run as root. `TAKO_TEST_DSN` names a server to
use in its place, `TAKO_TEST_PGBIN` the folder with `initdb`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from select import poll
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import psycopg

RUN: Final = "TAKO_TEST_POSTGRES_RUN"
"""The environment variable with the folder of this test run's servers; `begin_run` sets it."""
OWNER: Final = "tako"
"""The superuser of a throw-away server."""
FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""Settings of a server that need not survive a power failure."""
SAFE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "autovacuum": "on"}
COMMON: Final = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
    "recovery_init_sync_method": "syncfs",
    "log_line_prefix": "'%m [%p] %a '",
}
LIMIT: Final = 30.0
REPOSITORY: Final = Path(__file__).parents[2]


class Server(NamedTuple):
    """A server on which tests make databases."""

    dsn: str
    """The URL of a database of a superuser."""

    def url(self, database: str) -> str:
        """The URL of a database of this server."""
        return urlsplit(self.dsn)._replace(path=f"/{database}").geturl()

    def make_database(self, name: str) -> Database:
        """A new, empty database."""
        with connected(self.dsn) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return Database(self.url(name))

    def drop_database(self, name: str) -> None:
        """Delete a database, and end the sessions in it."""
        with connected(self.dsn) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Database(NamedTuple):
    """A database of a server."""

    url: str

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.removeprefix("/")

    def execute(self, statement: str, *parameters: Any, schema: str = "public") -> list[Any]:
        """The rows that a statement answers, executed by a connection of its own."""
        with connected(self.url, schema) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def drop_schema(self, name: str) -> None:
        """Delete a schema. Fails after five seconds while a session still uses it."""
        self.execute(f"SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS \"{name}\" CASCADE")


@contextmanager
def connected(url: str, schema: str = "public") -> Iterator[psycopg.Connection[Any]]:
    """A connection that commits each statement, and finds the tables of a schema."""
    import psycopg

    with closing(psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}")) as connection:
        yield connection


class Cluster:
    """A server of our own: made by `initdb`, started and stopped by `pg_ctl`, in a folder of the test run."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.settings = {**COMMON, "unix_socket_directories": f"'{folder}'", **settings}
        self.environment: dict[str, str] = {}
        """What its programs get beside the environment of the tests."""
        self.prefix: list[str] = []
        """The command, executed as root, that executes its programs."""

    @property
    def server(self) -> Server:
        return Server(f"postgresql://{OWNER}@/postgres?host={self.folder}")

    def create(self) -> None:
        """Make the folder and an empty cluster in it."""
        self.prepare()
        self.run("initdb", "-U", OWNER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self.configure()

    def prepare(self) -> None:
        """Make the folder, for the user of the server."""
        self.folder.mkdir(mode=0o755)
        if os.geteuid() == 0:
            account = _account()
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    def configure(self, **settings: str) -> None:
        """Add settings; they hold from the next start on."""
        self.settings |= settings
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self.settings.items())

    def copy(self, primary: Cluster) -> None:
        """Make a standby: a copy of a running server, which follows it once it is started."""
        self.prepare()
        self.run("pg_basebackup", "-d", primary.server.dsn, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self.configure()

    def promote(self) -> None:
        """Have a standby take writes."""
        self.run("pg_ctl", "-w", "-s", "promote")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.run("pg_ctl", "-w", "-s", "-t", str(int(LIMIT)), "-l", str(self.log), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `smart`, `fast`, or `immediate`, which is a crash."""
        self.run("pg_ctl", "-w", "-s", "-t", str(int(LIMIT)), "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop the server so and start it again."""
        self.stop(mode)
        self.start()

    def signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all processes of the server; which those are."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)  # it starts no more children
        processes = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        return processes

    def freeze(self) -> None:
        """Have the server stand still with all of its processes; `thaw` ends it."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the server with all of its processes, as the end of the machine does."""
        _wait_for_ends(self.signal(signal.SIGKILL))
        for file in (self.data / "postmaster.pid", self.folder / ".s.PGSQL.5432.lock"):
            file.unlink()  # where no process collects the dead one, its number looks alive

    @property
    def pid(self) -> int:
        """The process of the server."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL on this cluster, as the user of the server."""
        command = [str(binaries() / program), "-D", str(self.data), *arguments]
        ended = run_as_server(command, self.folder, prefix=self.prefix, environment=self.environment)
        if ended.returncode:
            log = self.log.read_text() if self.log.exists() else ""
            raise RuntimeError(f"{program} {' '.join(arguments)}: {ended.stdout}{log[-2000:]}")


def run_as_server(
    command: list[str], folder: Path, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as the user of the server; standard output and standard error are one. `prefix` is executed as root."""
    how = as_server()
    if prefix:
        account, how = _account(), {"start_new_session": True}
        user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        command = [*prefix, *user, *command]
    how["env"] = {**os.environ, **(environment or {})}
    with (folder / "output").open("w+") as output:  # a pipe would stay open in the server that `pg_ctl` starts
        ended = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, **how)
        output.seek(0)
        return subprocess.CompletedProcess(command, ended.returncode, output.read())


def as_server() -> dict[str, Any]:
    """What makes `subprocess` start a program as the user of the server, out of reach of Ctrl-C."""
    if os.geteuid() != 0:
        return {"start_new_session": True}
    account = _account()
    return {"start_new_session": True, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def binaries() -> Path:
    """The folder with `initdb` and `pg_ctl`: of the newest version that is installed. Raises FileNotFoundError."""
    if given := os.environ.get("TAKO_TEST_PGBIN"):
        if (Path(given) / "initdb").exists():
            return Path(given)
        raise FileNotFoundError(f"there is no initdb in {given}, which TAKO_TEST_PGBIN names")
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise FileNotFoundError("there is no initdb: apt install postgresql")


def missing() -> str | None:
    """What this machine lacks for tests on PostgreSQL."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'psycopg[binary]'"
    try:
        os.environ.get("TAKO_TEST_DSN") or binaries()
    except FileNotFoundError as error:
        return str(error)
    return None


# The servers of a test run


def begin_run() -> None:
    """Name the folder for the servers of this run, in the process that starts the others. Nothing is made yet."""
    os.environ[RUN] = f"/tmp/tako-postgres-{os.getpid()}-{secrets.token_hex(4)}"


def end_run() -> None:
    """Kill the servers of this run and delete what they stored."""
    remove(Path(os.environ[RUN]))


def shared_server() -> Server:
    """The server that the processes of this run share; the first call starts it."""
    if dsn := os.environ.get("TAKO_TEST_DSN"):
        return Server(dsn)
    with _run_folder() as run:
        cluster = Cluster(run / "shared", FAST)
        if not cluster.folder.exists():
            cluster.create()
            cluster.start()
        return cluster.server


def new_cluster(settings: Mapping[str, str] = SAFE) -> Cluster:
    """A cluster of a test's own, which was not created yet; `remove` its folder at the end of the test."""
    with _run_folder() as run:
        return Cluster(run / f"own-{secrets.token_hex(4)}", settings)


@contextmanager
def _run_folder() -> Iterator[Path]:
    """The folder of this run's servers, under a lock. Whoever makes it starts the process that removes it after a kill."""
    run = Path(os.environ[RUN])
    run.mkdir(mode=0o755, exist_ok=True)
    with (run / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if lock.tell() == 0:
            owner = run.name.split("-")[2]
            nothing = subprocess.DEVNULL
            command = [sys.executable, "-m", __name__, owner, str(run)]
            subprocess.run(command, cwd=REPOSITORY, stdin=nothing, stdout=nothing, stderr=nothing, check=True)
            print("kept", file=lock)
        yield run


def remove(folder: Path) -> None:
    """Kill each process whose `*.pid` file is in a folder, and delete the folder."""
    pids = [pid for file in folder.rglob("*.pid") if (pid := _server_of(file)) is not None]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
    _wait_for_ends(pids)
    shutil.rmtree(folder, ignore_errors=True)


def _server_of(file: Path) -> int | None:
    """The process that a pid file names, unless that has ended and its number belongs to another program."""
    with suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text().split()[0])
        if Path(f"/proc/{pid}/comm").read_text().strip() in ("postgres", "pgbouncer"):
            return pid
    return None


def _wait_for_ends(pids: list[int]) -> None:
    until = time.monotonic() + LIMIT
    for pid in pids:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            _wait_for_end(handle, until - time.monotonic())
            os.close(handle)


def _wait_for_end(handle: int, limit: float | None) -> None:
    waiting = poll()
    waiting.register(handle)
    waiting.poll(None if limit is None else max(limit, 0) * 1000)


def _keep(owner: int, folder: Path) -> None:
    """Remove the servers in a folder as soon as a process has ended."""
    with suppress(ProcessLookupError):
        _wait_for_end(os.pidfd_open(owner), None)
    if folder.exists():
        remove(folder)


if __name__ == "__main__" and os.fork() == 0:
    os.setsid()  # Ctrl-C is for the tests
    _keep(int(sys.argv[1]), Path(sys.argv[2]))
