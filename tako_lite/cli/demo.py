"""`tako-lite demo`: a project in a temporary folder, a load on it, and what there is to see."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from tako_lite.cli.output import write
from tako_lite.cli.scaffold import demo_files
from tako_lite.cli.scaffold import write as write_files
from tako_lite.client import Client
from tako_lite.errors import Interrupted, TakoError, WaitTimeout
from tako_lite.units import counted
from tako_lite.unpack import program

SECONDS: Final = {"shop": 45.0, "crash": 30.0, "scale": 60.0}
"""How long each demo lasts, or at most lasts."""
KILL_EVERY: Final = 3.0
STARTS_WITHIN: Final = 20.0
ENDS_WITHIN: Final = 60.0
"""Seconds for the runs that are left at the end of the crash demo."""
GOES_WITHIN: Final = 15.0
"""Seconds for idle workers to go, which they do after three."""
MANY: Final = 1500
"""Mails of the scale demo."""


class Demo:
    """A served project with a client. `say` prints a line."""

    def __init__(self, folder: Path, say: Callable[[str], None] = write) -> None:
        self.folder = folder
        self.say = say
        self.client = Client(folder)
        self.dashboard: str | None = None
        self._began = time.monotonic()
        self._log = folder / "dev.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start `dev`, and wait until it serves."""
        words, _ = program()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*words, "-c", str(self.folder), "dev", "--json", "--no-reload"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the demo, which then ends it in order
                cwd=self.folder,
            )
        limit = time.monotonic() + STARTS_WITHIN
        while (opened := self._opened()) is None:
            if self._process.poll() is not None or time.monotonic() > limit:
                raise TakoError(f"the daemon of the demo did not start: {self._log.read_text(errors='replace').strip()}")
            time.sleep(0.05)
        self.dashboard = opened.get("dashboard")
        self._began = time.monotonic()

    def _opened(self) -> dict[str, Any] | None:
        """What `dev` printed once it served."""
        for line in self._log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                if found.get("event") == "opened":
                    return found
        return None

    def stop(self) -> None:
        """End the daemon with all its workers."""
        self.client.close()
        if self._process is None:
            return
        for request in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(request)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
                return

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def tell(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        self.say(f"{self.seconds:5.1f} s  {text}")

    def groups(self) -> dict[str, Any]:
        """The groups of `status`, by name."""
        return {group["name"]: group for group in self.client.status()["groups"]}

    def pids(self, group: str) -> list[int]:
        """The workers of a group."""
        return [worker["pid"] for worker in self.groups()[group]["workers"]]


@contextlib.contextmanager
def _served(say: Callable[[str], None]) -> Iterator[Demo]:
    """A demo that serves; at the end nothing of it is left."""
    with TemporaryDirectory(prefix="tako-demo-") as place:
        folder = Path(place)
        write_files(folder, demo_files(), force=False)
        (folder / "live").mkdir()
        demo = Demo(folder, say)
        try:
            demo.start()
            yield demo
        finally:
            demo.stop()


def run_demo(name: str, seconds: float | None, say: Callable[[str], None] = write) -> int:
    """Run a demo; the exit code is 0 if it went as promised. Raises Interrupted for Ctrl-C."""
    play = {"shop": _shop, "crash": _crash, "scale": _scale}[name]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _served(say) as demo:
            where = f"dashboard: {demo.dashboard}" if demo.dashboard else 'a dashboard needs pip install "tako-lite[web]"'
            say(f"a project in {demo.folder}, served by `tako-lite dev`; {where}")
            went_well = play(demo, seconds or SECONDS[name])
        say("everything that the demo started has ended, and its folder is removed")
        return 0 if went_well else 1
    except KeyboardInterrupt:
        raise Interrupted("interrupted; everything that the demo started has ended, and its folder is removed") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _shop(demo: Demo, seconds: float) -> bool:
    """Pictures pile up in one group, and mails pass them in another."""
    demo.tell("60 pictures are enqueued for group media, then a mail a second for group email")
    demo.client.enqueue_many("picture", list(range(60)))
    waits: list[float] = []
    newsletter = demo.client.enqueue("newsletter", 7)
    while demo.seconds < seconds:
        asked = time.monotonic()
        run = demo.client.enqueue("mail", f"customer-{len(waits)}@shop.example")
        demo.client.wait(run.id, timeout=30)
        waits.append(time.monotonic() - asked)
        media = demo.groups()["media"]
        demo.tell(
            f"mail {len(waits)} done in {waits[-1] * 1000:.0f} ms, while {media['pending']} pictures wait "
            f"and {len(media['workers'])} workers are at it"
        )
        if len(waits) == 3:
            demo.tell(f"the newsletter is {demo.client.get(newsletter.id)['state']}: no process waits; now it is approved")
            demo.client.signal("approval:newsletter-7")
        if len(waits) > 3 and not media["pending"] and not media["busy"]:
            break
        time.sleep(max(0.0, 1.0 - (time.monotonic() - asked)))
    demo.tell(
        f"{counted(len(waits), 'mail')}: {median(waits) * 1000:.0f} ms in the median, beside a group that was busy all the time"
    )
    return True


def _crash(demo: Demo, seconds: float) -> bool:
    """Orders come in while workers are killed; at the end each is done once."""
    demo.tell("5 orders a second, three steps each; every 3 s a worker is killed (SIGKILL)")
    ids: list[str] = []
    killed, next_kill = 0, demo.seconds + KILL_EVERY
    while demo.seconds < seconds:
        ids.append(demo.client.enqueue("order", len(ids)).id)
        if demo.seconds >= next_kill and (pids := demo.pids("orders")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[killed % len(pids)], signal.SIGKILL)
                killed += 1
            next_kill += KILL_EVERY
            demo.tell(_counter(demo, len(ids), killed))
        time.sleep(0.2)
    demo.tell(f"no more orders and no more kills; waiting for the rest of {len(ids)}")
    limit = demo.seconds + ENDS_WITHIN
    for id in ids:
        with contextlib.suppress(WaitTimeout):
            demo.client.wait(id, timeout=max(limit - demo.seconds, 0.1))
    done = sum(demo.client.get(id)["state"] == "succeeded" for id in ids)
    twice = _twice(demo)
    kills = counted(killed, "worker")
    demo.tell(f"{len(ids)} orders, {kills} killed: {done} done, {len(ids) - done} lost, {twice} twice at the same time")
    return done == len(ids) and twice == 0


def _counter(demo: Demo, enqueued: int, killed: int) -> str:
    orders = demo.groups()["orders"]
    left = orders["pending"] + orders["running"] + orders["waiting"]
    return (
        f"{counted(killed, 'worker')} killed; {enqueued} orders, {enqueued - left} done; {_twice(demo)} twice at the same time"
    )


def _twice(demo: Demo) -> int:
    log = demo.folder / "twice.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def _scale(demo: Demo, seconds: float) -> bool:
    """Groups grow from no process to their maximum while work waits, and shrink to nothing."""
    demo.tell(_workers(demo))
    demo.tell(f"{MANY} mails and 20 orders are enqueued at once")
    began = demo.seconds
    demo.client.enqueue_many("order", list(range(20)))
    demo.client.enqueue_many("mail", [f"customer-{number}@shop.example" for number in range(MANY)])
    most, left = 0, MANY
    while left and demo.seconds < seconds:
        groups = demo.groups()
        most = max(most, len(groups["orders"]["workers"]))
        left = sum(group["pending"] + group["running"] for group in groups.values())
        demo.tell(_workers(demo, left))
        time.sleep(0.5)
    what = "all" if not left else f"all but {left}"
    demo.tell(
        f"{what} done in {demo.seconds - began:.1f} s; group orders grew from 0 to {counted(most, 'worker')}. Now they go:"
    )
    limit = demo.seconds + GOES_WITHIN
    while demo.seconds < limit and demo.pids("orders"):
        time.sleep(0.5)
    demo.tell(_workers(demo))
    return most > 0 and not demo.pids("orders")


def _workers(demo: Demo, left: int | None = None) -> str:
    shown = ", ".join(f"{name} {len(group['workers'])}" for name, group in demo.groups().items() if name != "default")
    return f"workers: {shown}" + ("" if left is None else f"; {counted(left, 'run')} left")
