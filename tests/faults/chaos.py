"""A real project under a seeded plan of kills and freezes, then a quiet phase, then the checker.

`python -m tests.faults.chaos --seconds 60 --seed 1`; the exit code is 1 where a promise was broken. A seed replays the plan.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable, StoreBusy, StoreUnreachable, TakoError, WaitTimeout
from tako_lite.linux import read_process
from tako_lite.records import new_id, new_ids
from tests.faults.expected import TENANTS, in_file, surprises
from tests.support.checker import violations
from tests.support.event_log import LOG, EventLog, as_logged
from tests.support.postgres import missing
from tests.support.project import wait_until, zombies
from tests.support.warm_start import WarmProcess, start_daemon

SOURCES: Final = Path(__file__).parent
REPOSITORY: Final = SOURCES.parents[1]
"""What the handlers import the witness from."""
ENQUEUERS: Final = 4
AT_ONCE: Final = 100
"""Runs that a crowd enqueues at a time."""
MOST_OPEN: Final = 40
"""Runs of one enqueuer that have not ended yet."""
LATER: Final = (DaemonUnreachable, StoreBusy, StoreUnreachable)
"""Errors of a client after which it asks again."""
QUIET_LIMIT: Final = 90.0
"""Seconds after the last fault in which every run must have ended."""
GONE_LIMIT: Final = 10.0
"""Seconds after the stop in which every process must be gone."""
ORPHAN_LIMIT: Final = 8.0
"""The same after the death of a daemon: 5 s are promised, on an idle machine."""

CONFIG: Final = """\
name = "chaos"

[queue]
keep = {{ succeeded = "forever", cancelled = "forever", dead = "forever" }}

[workflows]
max_crashes = 1000
drain_timeout = "2s"
idle_timeout = "3s"
env = {{ CHAOS_ROOT = "{root}" }}

[workflows.fast]
workers = 1
max_workers = 2
concurrency = 8

[workflows.slow]
max_workers = 2
concurrency = 3
heartbeat_timeout = "1s"

[workflows.lone]
max_workers = 2
concurrency = 1
max_runs = 10

[workflows.brief]
workers = 1
concurrency = 25

[workflows.kids]
max_workers = 2
concurrency = 4
heartbeat_timeout = "1s"
allowed_tenants = ["acme"]

[tenants.acme]
"""

WORKFLOWS: Final = {
    "steps": 6, "blocking": 3, "flaky": 2, "doomed": 1, "bails": 1, "sleeper": 2, "signalled": 2, "parent": 2, "stopped": 2,
    "single": 2,
}  # fmt: skip
PLACES: Final = {"brief": "fast", "kids": "lone"}
"""Groups that are paused from time to time, and where their runs go at other times."""
OF_A_WORKER: Final = 4
"""Descriptors that the daemon has open for a worker."""
SPARE: Final = 2
"""Descriptors that it may have more than before, of what it opens when that is needed."""

FAULTS: Final = {
    "kill worker": 30,
    "kill workers": 8,
    "freeze worker": 18,
    "freeze workers": 5,
    "kill zygote": 8,
    "freeze zygote": 5,
    "kill daemon": 8,
    "freeze daemon": 5,
    "kill daemon and zygote": 4,
    "kill zygote and worker": 4,
    "kill all": 4,
    "stop daemon": 4,
    "reload daemon": 4,
    "strand workers": 5,
}
"""What can happen, and how often."""
SIGNALS: Final = {
    "kill": signal.SIGKILL,
    "lose": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "suspend": signal.SIGSTOP,
    "stop": signal.SIGTERM,
    "reload": signal.SIGHUP,
}


class Fault(NamedTuple):
    """`at` seconds after the start; `pick` says which process, from 0 to 1; a freeze lasts `pause` seconds."""

    at: float
    name: str
    pick: float
    pause: float


def plan(seed: int, seconds: float, kinds: Mapping[str, int] = FAULTS) -> list[Fault]:
    """The faults of a seed, in their order."""
    dice = random.Random(seed)
    faults = []
    at = 0.0
    while (at := at + dice.choice([0.01, 0.1, 0.3, 0.8, 1.5])) < seconds:
        (name,) = dice.choices(list(kinds), list(kinds.values()))
        faults.append(Fault(at, name, dice.random(), dice.choice([0.01, 0.1, 0.5, 1.5, 2.5])))
    return faults


class Member(NamedTuple):
    """A process of the project, held by a descriptor so that a signal never reaches another one of the same number."""

    pid: int
    name: str
    handle: int

    def send(self, number: int) -> bool:
        """Send a signal; whether the process was there."""
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            return False
        return True


class Members:
    """The living processes of a project, found by their working folder or environment; closed at the end of a `with`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.found: list[Member] = []

    def __enter__(self) -> list[Member]:
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            if pid == os.getpid() or not self._belongs(entry):
                continue
            with suppress(OSError):
                handle = os.pidfd_open(pid)
                self.found.append(Member(pid, (entry / "comm").read_text().strip() if entry.exists() else "", handle))
        self.found.sort()
        return self.found

    def __exit__(self, *_: object) -> None:
        for member in self.found:
            os.close(member.handle)

    def _belongs(self, entry: Path) -> bool:
        process = read_process(int(entry.name))
        if process is None or process.state in "ZX":
            return False
        try:
            return (entry / "cwd").readlink() == self._root or f"CHAOS_ROOT={self._root}".encode() in (
                entry / "environ"
            ).read_bytes().split(b"\0")
        except OSError:
            return False


class Keeper:
    """Starts the daemon, and again whenever it died."""

    server = "here"

    def __init__(self, root: Path, witness: EventLog) -> None:
        self.restarts = 0
        self.orphans: queue.SimpleQueue[tuple[float, list[int]]] = queue.SimpleQueue()
        """Whom each daemon left when it died, and when they must be gone."""
        self.root = self._root = root
        self._witness = witness
        self._process: subprocess.Popen[bytes] | WarmProcess | None = None
        self._expected: set[tuple[int, int]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper")

    @property
    def pid(self) -> int:
        """The daemon's pid; 0 where none runs."""
        process = self._process
        return process.pid if process is not None else 0

    def start(self) -> None:
        self._thread.start()

    def expect(self, pid: int, number: int) -> None:
        """A signal is about to be sent to the daemon."""
        self._expected |= {(pid, -number)} | ({(pid, 0)} if number == signal.SIGTERM else set())

    def launch(self, log: int, **environment: str) -> subprocess.Popen[bytes] | WarmProcess:
        """Start the next daemon."""
        return start_daemon(["serve", "--server", self.server], self._root, log, **environment)

    def foresees(self, pid: int, code: int) -> bool:
        """Whether a daemon was to end so, besides those that were sent a signal."""
        return False

    def stop(self) -> None:
        """End the daemon in an orderly way."""
        self._stopping.set()
        told = 0
        give_up = time.monotonic() + 20
        while self._thread.is_alive() and time.monotonic() < give_up:
            if (pid := self.pid) not in (0, told):
                told = pid
                self.expect(pid, signal.SIGTERM)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            self._thread.join(0.05)
        if self._thread.is_alive():
            self._witness.write("trouble", text="the daemon did not stop within 20 s")

    def _keep(self) -> None:
        with (self._root / "daemon.log").open("ab") as log:
            while not self._stopping.is_set():
                self._process = self.launch(
                    log.fileno(), CHAOS_ROOT=str(self._root), PYTHONPATH=str(REPOSITORY), TAKO_DEBUG="1"
                )
                pid = self._process.pid
                self._witness.write("daemon", daemon=pid)
                code = self._process.wait()
                self._process = None
                self._witness.write("daemon_ended", daemon=pid, code=code)
                with Members(self._root) as members:  # all of them belonged to the dead one
                    self.orphans.put((time.monotonic() + ORPHAN_LIMIT, [member.pid for member in members]))
                if (pid, code) not in self._expected and not self.foresees(pid, code):
                    self._witness.write("trouble", text=f"daemon {pid} ended with {code} by itself")
                self.restarts += 1
                self.between()

    def between(self) -> None:
        """What happens before the next daemon starts."""


class Enqueuer:
    """One client that enqueues with ids of its own until told to stop, and one that waits for the ends."""

    def __init__(self, root: Path, witness: EventLog, seed: str) -> None:
        self._root = root
        self._witness = witness
        self._dice = random.Random(seed)
        self._stopping = threading.Event()
        self._over = threading.Event()
        self._room = threading.Semaphore(MOST_OPEN)
        self.open: deque[str] = deque()
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._enqueue, self._wait)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Enqueue no more; what is being enqueued is asked for until it is acknowledged."""
        self._stopping.set()
        self._room.release()
        self._threads[0].join()

    def end(self) -> None:
        """Wait for no more ends."""
        self._stopping.set()
        self._over.set()
        self._room.release()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[Client], None]) -> None:
        try:
            with Client(self._root, patience=3) as client:
                work(client)
        except Exception as error:  # whatever it is, it was not promised
            self._witness.write("trouble", text=f"a client raised {type(error).__name__}: {error}")

    def _enqueue(self, client: Client) -> None:
        dice = self._dice
        while self._room.acquire() and not self._stopping.is_set():
            run_id = new_id()
            (workflow,) = dice.choices(list(WORKFLOWS), list(WORKFLOWS.values()))
            payload = {"key": run_id, "ms": dice.choice([0, 2, 10, 40])}
            early = workflow == "signalled" and dice.random() < 0.5
            tenant = TENANTS.get(workflow)
            if early:
                self._signal(client, run_id)
            self._witness.write("asked", run=run_id, workflow=workflow)
            for _ in range(1 + (dice.random() < 0.2)):
                made = until_heard(lambda: client.enqueue(workflow, payload, id=run_id, tenant=tenant))  # noqa: B023 -- at once
                if made.id != run_id:
                    self._witness.write("trouble", text=f"enqueue of {run_id} was answered with {made.id}")
                self._witness.write("acked", run=run_id)
            self.open.append(run_id)
            if workflow == "signalled" and not early:
                self._signal(client, run_id)
            if workflow == "stopped" and dice.random() < 0.8:
                self._stopping.wait(dice.random() * 0.3)
                outcome = until_heard(lambda: client.cancel(run_id))[run_id]  # noqa: B023 -- called at once
                self._witness.write("cancel", run=run_id, outcome=outcome)
            self._stopping.wait(dice.random() * 0.1)

    def _signal(self, client: Client, run_id: str) -> None:
        event, payload = f"go:{run_id}", self._dice.random()
        self._witness.write("signalling", event=event, payload=payload)
        until_heard(lambda: client.signal(event, payload))

    def _wait(self, client: Client) -> None:
        while not self._over.is_set():
            if not self.open:
                self._over.wait(0.02)
                continue
            with suppress(WaitTimeout, *LATER):
                run = client.wait(self.open[0], timeout=1)
                self._witness.write(
                    "ended", **{key: as_logged(run[key]) for key in ("state", "result", "attempts")}, run=run["id"]
                )
                self.open.popleft()
                self._room.release()


class Repeater:
    """A client that does one thing again and again until it is told to stop."""

    def __init__(self, root: Path, witness: EventLog, seed: str) -> None:
        self._root = root
        self._witness = witness
        self._dice = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guarded)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way is asked for until it is acknowledged."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _guarded(self) -> None:
        try:
            with Client(self._root, patience=3) as client:
                while not self._stopping.is_set():
                    self._do(client)
        except Exception as error:  # whatever it is, it was not promised
            self._witness.write("trouble", text=f"{type(self).__name__} raised {type(error).__name__}: {error}")

    def _do(self, client: Client) -> None:
        raise NotImplementedError


class Operator(Repeater):
    """Pauses a group and resumes it, or has its runs go to another."""

    def _do(self, client: Client) -> None:
        group, other = self._dice.choice(list(PLACES.items()))
        if self._dice.random() < 0.5:
            until_heard(lambda: client.call("move_group", group=group, to=other))
        else:
            until_heard(lambda: client.call("pause", group=group))
            self._stopping.wait(self._dice.random() * 0.3)
            until_heard(lambda: client.call("resume", group=group))
        self._stopping.wait(self._dice.random() * 0.5)


class Crowd(Repeater):
    """Enqueues many runs at a time, with ids of its own, as fast as they are done."""

    def _do(self, client: Client) -> None:
        ids = new_ids(AT_ONCE)
        for run_id in ids:
            self._witness.write("asked", run=run_id, workflow="brief")
        payloads = [{"key": run_id} for run_id in ids]
        until_heard(lambda: client.call("enqueue_many", workflow="brief", payloads=payloads, run_ids=ids))
        for run_id in ids:
            self._witness.write("acked", run=run_id, many=True)
        with suppress(WaitTimeout, *LATER):
            client.wait(ids[-1], timeout=2)
        self._stopping.wait(0.05)


def until_heard(ask: Callable[[], Any]) -> Any:
    """The answer, asked for again as long as nobody answers; fails in the end."""
    give_up = time.monotonic() + QUIET_LIMIT
    while True:
        try:
            return ask()
        except LATER:
            if time.monotonic() > give_up:
                raise


def make_project(root: Path, config: str) -> None:
    """Make the folder of a server."""
    (root / "workflows").mkdir(parents=True)
    (root / "tako.toml").write_text(config)
    (root / "workflows/handlers.py").write_text((SOURCES / "handlers.py").read_text())


class Chaos:
    """One round: the project, the clients, the faults."""

    def __init__(self, root: Path, seconds: float, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.kills = 0
        self._root = root
        self._plan = self.planned(seed, seconds)
        self._seconds = seconds
        self._frozen: list[tuple[float, Member]] = []
        self._ever_frozen: set[int] = set()
        self._orphans: deque[tuple[float, list[int], Path]] = deque()
        self.witness = EventLog(root / LOG)
        self.witness.write("plan", seed=seed, seconds=seconds)
        self.keepers = self.made()
        roots = [keeper.root for keeper in self.keepers] * ENQUEUERS
        self.enqueuers = [Enqueuer(roots[number], self.witness, f"{seed}/{number}") for number in range(ENQUEUERS)]
        self.repeaters = [kind(roots[0], self.witness, f"{seed}/{kind.__name__}") for kind in (Crowd, Operator)]

    def planned(self, seed: int, seconds: float) -> list[Fault]:
        """The faults of a seed."""
        return plan(seed, seconds)

    def made(self) -> list[Keeper]:
        """Make the folder of each server, and its keeper."""
        make_project(self._root, CONFIG.format(root=self._root))
        return [Keeper(self._root, self.witness)]

    def run(self) -> list[str]:
        """Faults, quiet, stop, judgement."""
        try:
            for keeper in self.keepers:
                keeper.start()
            for client in (*self.enqueuers, *self.repeaters):
                client.start()
            self._do_harm()
            for client in (*self.repeaters, *self.enqueuers):
                client.stop()
            self._settle()
            for enqueuer in self.enqueuers:
                enqueuer.end()
            self._look_for_leaks()
        finally:
            self._thaw(all_=True)
            for repeater in self.repeaters:
                repeater.stop()
            for enqueuer in self.enqueuers:
                enqueuer.end()
            for keeper in self.keepers:
                keeper.stop()
            for keeper in self.keepers:
                self._clean_up(keeper)
        return self.judged()

    def judged(self) -> list[str]:
        """The broken promises; nothing has the queue open."""
        queue = self._root / ".tako/queue.db"
        return violations(self.witness.path, queue) + surprises(self.witness.path, in_file(queue))

    # Faults

    def _do_harm(self) -> None:
        begun = time.monotonic()
        never = threading.Event()
        for fault in self._plan:
            while (left := begun + fault.at - time.monotonic()) > 0:
                self._thaw()
                self._look_for_orphans()
                never.wait(min(left, 0.01))
            self._inflict(fault)
        while self._frozen:
            self._thaw()
            never.wait(0.01)

    def _look_for_orphans(self) -> None:
        """Whoever outlives his daemon for long, and was never frozen, was left behind."""
        for keeper in self.keepers:
            while not keeper.orphans.empty():
                self._orphans.append((*keeper.orphans.get(), keeper.root))
        while self._orphans and self._orphans[0][0] < time.monotonic():
            _, pids, root = self._orphans.popleft()
            with Members(root) as members:
                left = [f"{m.name}:{m.pid}" for m in members if m.pid in pids and m.pid not in self._ever_frozen]
            if left:
                self.witness.write("trouble", text=f"{ORPHAN_LIMIT:g} s after their daemon there are {left}")

    def _thaw(self, *, all_: bool = False) -> None:
        now = time.monotonic()
        for due, member in self._frozen.copy():
            if all_ or due <= now:
                member.send(signal.SIGCONT)
                os.close(member.handle)
                self._frozen.remove((due, member))

    def _inflict(self, fault: Fault) -> None:
        if fault.name == "strand workers":  # they cannot see that everybody above them died
            self._inflict(fault._replace(name="freeze workers"))
            self._inflict(fault._replace(name="kill daemon and zygote"))
            return
        verb, _, what = fault.name.partition(" ")
        number = SIGNALS[verb]
        share = fault.pick * len(self.keepers)
        keeper = self.keepers[int(share)]
        with Members(keeper.root) as members:
            targets = self._targets(keeper, what, members, share % 1)
            for member in targets:
                keeper.expect(member.pid, number)
            hit = [member for member in targets if member.send(number)]
            if number == signal.SIGSTOP:
                due = time.monotonic() + fault.pause
                self._ever_frozen |= {member.pid for member in hit}
                self._frozen += [(due, member._replace(handle=os.dup(member.handle))) for member in hit]
            self.witness.write("fault", name=fault.name, pause=fault.pause, hit=[f"{m.name}:{m.pid}" for m in hit])
        self.faults[fault.name] += bool(hit)
        self.kills += len(hit) * (number == signal.SIGKILL)

    def _targets(self, keeper: Keeper, what: str, members: list[Member], pick: float) -> list[Member]:
        """Those of the living whom a fault names; one worker is picked by its rank."""
        if what == "all":
            return members
        daemon = keeper.pid
        zygotes = [member for member in members if member.name == "tako-zygote"]
        above = {daemon, *(zygote.pid for zygote in zygotes)}
        workers = [m for m in members if m.pid not in above and (p := read_process(m.pid)) and p.parent in above]
        targets = [member for member in members if member.pid == daemon and "daemon" in what]
        targets += zygotes if "zygote" in what else []
        if "workers" in what:
            targets += workers
        elif "worker" in what and workers:
            targets.append(workers[int(pick * len(workers))])
        return targets

    # The end

    def _settle(self) -> None:
        """Wait until everything has ended that anybody enqueued."""
        self.witness.write("quiet")
        give_up = time.monotonic() + QUIET_LIMIT
        with Client(self.keepers[0].root) as client:
            while left := self._left(client):
                if time.monotonic() > give_up:
                    self.witness.write("trouble", text=f"after {QUIET_LIMIT:g} s of quiet there are {left}")
                    return
                time.sleep(0.05)

    def _left(self, client: Client) -> str:
        unseen = sum(len(enqueuer.open) for enqueuer in self.enqueuers)
        try:
            live = client.call("ids", states=["pending", "running", "waiting"])["ids"]
        except TakoError as error:
            return f"no daemon: {error}"
        return f"{unseen} ends not seen, {len(live)} live runs: {live[:5]}" if unseen or live else ""

    def _look_for_leaks(self) -> None:
        """Workers die and others take their places: the daemon has no zombie then, and no more descriptors of its own."""
        for keeper in self.keepers:
            self._look_for_leaks_of(keeper)

    def _look_for_leaks_of(self, keeper: Keeper) -> None:
        try:
            with Client(keeper.root) as client:
                before = wait_until(lambda: self._descriptors(keeper, client, set()), "the workers are at rest")
                killed: set[int] = set()
                for _ in range(3):
                    with Members(keeper.root) as members:
                        workers = self._targets(keeper, "workers", members, 0)
                        killed.update(worker.pid for worker in workers if worker.send(signal.SIGKILL))
                    wait_until(lambda: self._descriptors(keeper, client, killed), "other workers are there")
                most = before + SPARE
                wait_until(
                    lambda: 0 < self._descriptors(keeper, client, killed) <= most, f"no more than {most} descriptors are open"
                )
                with Members(keeper.root) as members:
                    parents = [member.pid for member in members]
                dead = {pid for parent in parents for pid in zombies(parent)}
                wait_until(lambda: not dead & {pid for parent in parents for pid in zombies(parent)}, f"no zombies: {dead}")
        except (AssertionError, TakoError) as error:
            self.witness.write("trouble", text=f"daemon {keeper.pid} in quiet: {error}")

    def _descriptors(self, keeper: Keeper, client: Client, gone: set[int]) -> int:
        """The open descriptors of the daemon without those of its workers; 0 while one of these comes or goes."""

        def workers() -> dict[int, str]:
            return {worker["pid"]: worker["state"] for group in client.status()["groups"] for worker in group["workers"]}

        before = workers()
        number = len(list(Path(f"/proc/{keeper.pid}/fd").iterdir()))
        at_rest = set(before.values()) <= {"idle", "busy"} and before.keys() == workers().keys()
        return number - OF_A_WORKER * len(before) if before and at_rest and not gone & before.keys() else 0

    def _clean_up(self, keeper: Keeper) -> None:
        """Nobody may be left once the daemon has stopped; whoever is, is a violation, and is killed."""
        give_up = time.monotonic() + GONE_LIMIT
        while True:
            with Members(keeper.root) as members:
                if not members:
                    return
                if time.monotonic() > give_up:
                    self.witness.write("trouble", text=f"left behind: {[f'{m.name}:{m.pid}' for m in members]}")
                    for member in members:
                        member.send(signal.SIGKILL)
                    return
            time.sleep(0.05)


def report(chaos: Chaos, seed: int, seconds: float, found: list[str]) -> str:
    """One line of figures."""
    kinds = Counter(fact["kind"] for fact in chaos.witness.read())
    daemons = sum(keeper.restarts for keeper in chaos.keepers)
    return (
        f"seed {seed}: {seconds:.0f} s, {sum(chaos.faults.values())} faults, {chaos.kills} kills, {daemons} daemons, "
        f"{kinds['acked']} acks, {kinds['start']} attempts, {kinds['ended']} runs ended, {len(found)} violations"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long there are faults (60)")
    parser.add_argument("--seed", type=int, default=None, help="the plan to replay; without it, a new one")
    parser.add_argument("--postgres", action="store_true", help="two servers and a PostgreSQL database, which dies too")
    parser.add_argument("--keep", type=Path, help="a folder for the project, kept afterwards; it must not exist")
    options = parser.parse_args()
    if options.postgres and (lack := missing()):
        print(f"no chaos on PostgreSQL: {lack}")
        return 1 if os.environ.get("TAKO_TEST_POSTGRES") == "required" else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it cleans up
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as scratch:
        root = (options.keep or Path(scratch) / "project").absolute()
        root.mkdir(parents=True)
        begun = time.monotonic()
        with opened(root.resolve(), options.seconds, seed, on_postgres=options.postgres) as chaos:
            found = chaos.run()
        for violation in found:
            print(violation)
        print(report(chaos, seed, time.monotonic() - begun, found))
        print(", ".join(f"{count} × {name}" for name, count in sorted(chaos.faults.items())))
    return 1 if found else 0


def opened(root: Path, seconds: float, seed: int, *, on_postgres: bool) -> AbstractContextManager[Chaos]:
    """A round in a folder."""
    if on_postgres:
        from tests.faults.postgres.chaos import server_chaos  # which needs psycopg

        return server_chaos(root, seconds, seed)
    return nullcontext(Chaos(root, seconds, seed))


if __name__ == "__main__":
    sys.exit(main())
