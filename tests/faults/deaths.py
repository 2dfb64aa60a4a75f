"""The chaos project under daemons that die one after another, each at another named point, then the checker.

`python -m tests.faults.deaths --seed 1` takes every point in a random order; the exit code is 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.faults.chaos import Chaos, Keeper
from tests.support.event_log import EventLog, Fact
from tests.support.failpoints import POINTS, fired
from tests.support.profiles import FULL
from tests.support.warm_start import WarmProcess, start_daemon

DEADLY: Final = ("kill", "kill_all")
FIRED_LIMIT: Final = 40.0
"""Seconds in which a daemon must reach its point."""
STARTED_LIMIT: Final = 5.0
"""The same for a point of the start: some need a run that the last daemon left running."""
UNUSED: Final = ("event.stopping", "event.killing", "prune.between", "set_limits.between", "put_catalog")
"""What the chaos project does not bring about: nothing is pruned or reloaded in it, and no rate is in it."""
AT_START: Final = ("recover", "event.recovered", "event.serving", "put_triggers", "set_limits", "prune")
AFTER_CRASHES: Final = ("give_back", "crash")


class Relay(Keeper):
    """Starts one daemon after another, each of which dies at the next point, and then one that lives."""

    def __init__(self, root: Path, witness: EventLog, plans: list[list[str]]) -> None:
        super().__init__(root, witness)
        self.plans = plans

    def launch(self, log: int, **environment: str) -> subprocess.Popen[bytes] | WarmProcess:
        if not self.plans:
            return super().launch(log, **environment)
        plan = self.plans.pop(0)
        return start_daemon(plan, self._root, log, module="tests.support.failpoints", warm=not FULL, **environment)

    def again(self, plan: list[str]) -> None:
        """This daemon did not find at its start what it was to die at: another one is to look."""
        self.plans.insert(0, plan)
        if (pid := self.pid) != 0:
            self.expect(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def foresees(self, pid: int, code: int) -> bool:
        return code == -signal.SIGKILL and any(fact["pid"] == pid and fact["action"] in DEADLY for fact in fired(self._root))


class Deaths(Chaos):
    """Two enqueuers, the handlers and the checker of the chaos run; instead of its faults, a death at each of these points."""

    def __init__(self, root: Path, points: list[str], seed: int) -> None:
        super().__init__(root, seconds=0, seed=seed)
        self._points = points
        dice = random.Random(seed)
        self._plans = [_asked(point, dice) for point in points]
        self._relay = Relay(root, self.witness, self._plans.copy())
        self.keepers = [self._relay]
        del self.enqueuers[2:]

    def deaths(self) -> list[Fact]:
        """The points at which daemons died."""
        return [fact for fact in fired(self._root) if fact["action"] in DEADLY]

    def _do_harm(self) -> None:
        never = threading.Event()
        for number, (point, plan) in enumerate(zip(self._points, self._plans, strict=True)):
            give_up = time.monotonic() + FIRED_LIMIT
            look_again = time.monotonic() + STARTED_LIMIT
            while len(self.deaths()) <= number:
                self._look_for_orphans()
                if point.startswith(AT_START) and time.monotonic() > look_again:
                    self._relay.again(plan)
                    look_again = time.monotonic() + STARTED_LIMIT
                if time.monotonic() > give_up:
                    self.witness.write("trouble", text=f"{point} was not reached, nor those after it")
                    self._relay.plans.clear()
                    return
                never.wait(0.02)


def _asked(point: str, dice: random.Random) -> list[str]:
    """What a daemon is told that is to die at a point."""
    deadly = f"{point}={dice.choice(['kill', 'kill', 'kill_all'])}"
    if point.startswith(AT_START):
        return [deadly]
    if point.startswith(AFTER_CRASHES):
        return [*(f"step.after_commit=kill_workers@{number}" for number in range(1, 200, 20)), deadly]
    return [f"{deadly}@{dice.choice([1, 2, 3])}"]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.deaths", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the order to replay; without it, a new one")
    for option in ("--seconds", "--keep"):
        parser.add_argument(option, help="of the chaos run, and nothing here: make gives the same options to both")
    parser.add_argument("points", nargs="*", metavar="point", help="only these")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    points = options.points or sorted(point for point in POINTS if not point.startswith(UNUSED))
    random.Random(seed).shuffle(points)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it cleans up
    with tempfile.TemporaryDirectory(prefix="deaths-", ignore_cleanup_errors=True) as scratch:
        deaths = Deaths(Path(scratch).resolve(), points, seed)
        found = deaths.run()
        for violation in found:
            print(violation)
        facts = deaths.witness.read()
        acked, ended = (sum(fact["kind"] == kind for fact in facts) for kind in ("acked", "ended"))
        print(
            f"seed {seed}: {len(deaths.deaths())} deaths at {len(points)} points, {acked} acks, {ended} runs ended, "
            f"{len(found)} violations"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
