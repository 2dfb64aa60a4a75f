"""Runs `dev`: the locks, the first screen, the keys, and `--once`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.catalog import Catalog
from tako_lite.config import Config, load
from tako_lite.config.listen import Listen
from tako_lite.config.web_settings import DEFAULT_HOST, DEFAULT_PORT
from tako_lite.daemon.log_handler import Journal, open_missing_streams
from tako_lite.daemon.serve import hold_locks, log_to, run_until_signal
from tako_lite.dev.daemon import DevDaemon, DevOptions
from tako_lite.dev.keys import Keys, has_keys, open_page, single_keys, stop
from tako_lite.dev.screen import LineFormatter, ScreenFormatter
from tako_lite.dev.settings import for_development
from tako_lite.dev.sources import read_catalog
from tako_lite.errors import AlreadyServing, NotFound, TakoError
from tako_lite.hints import did_you_mean
from tako_lite.listening import listen_on
from tako_lite.lock import daemon_lock

NEEDED: Final = ("jinja2", "starlette", "uvicorn")
"""What the dashboard needs."""
WAITS_FOR: Final = 10
"""With `--once`: the longest time in seconds to wait for a retry or the end of a sleep."""
IDLE_CHECK: Final = 0.1
"""Seconds between two looks whether everything is done, with `--once`."""
STDOUT: Final = 1


class Options(NamedTuple):
    """The options of the command."""

    server: str | None = None
    web: bool = True
    open_browser: bool = False
    groups: Collection[str] = ()
    reload: bool = True
    schedules: bool = True
    once: bool = False
    as_json: bool = False


def develop(config_path: Path | None, options: Options) -> int:
    """Serve a project for development until a signal or a key ends it; the exit code is 0, or 1 if `once` saw a run die.

    Raises TakoError where it cannot start.
    """
    open_missing_streams()
    plain = load(config_path, server=options.server)
    has_dashboard = options.web and not options.once and all(find_spec(name) for name in NEEDED)
    dashboard = plain.web.listen or asyncio.run(_free_address()) if has_dashboard else None
    config = for_development(plain, dashboard)
    catalog = read_catalog(config, Catalog(config.root, {}))
    _check_groups(options.groups, {"default", *config.groups, *catalog.groups})
    if options.groups and config.queue.shared:
        config = replace(config, served=tuple(options.groups))
    colours = os.isatty(STDOUT) and not os.environ.get("NO_COLOR")
    screen = ScreenFormatter({"default", *config.groups, *catalog.groups}, colours=colours)
    heeded = DevOptions(dashboard, options.groups, options.reload and not options.once, options.schedules)
    made: list[_Session] = []
    try:
        with hold_locks(config) as (locks, last), single_keys() if _wants_keys(options) else nullcontext():
            log_to(Journal(LineFormatter() if options.as_json else screen, STDOUT))

            def make() -> DevDaemon:
                daemon = _Session(config, catalog, heeded, locks, last, screen.learn)
                daemon.command = options
                made.append(daemon)
                return daemon

            run_until_signal(config, make)
    except AlreadyServing as error:
        raise _served(config, error) from None
    return int(options.once and made[0].deaths > 0)


def _wants_keys(options: Options) -> bool:
    return has_keys() and not options.as_json and not options.once


def _served(config: Config, error: AlreadyServing) -> AlreadyServing:
    """The error for a project that a daemon of this folder serves; for one of another folder, the error as it is."""
    lock = daemon_lock(config.state_dir)
    if (pid := lock.pid) is None or not lock.is_held():
        return error
    since = time.strftime("%H:%M", time.localtime(lock.path.stat().st_mtime))
    hint = f"`tako-lite logs -f` shows what it does; kill {pid} ends it" if lock.killable_pid() else error.hint
    return AlreadyServing(f"a daemon serves this project (pid {pid} since {since})", hint=hint)


def _check_groups(wanted: Collection[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known) or f"the groups are: {', '.join(sorted(known))}"
            raise NotFound(f"there is no group {name[:60]!r}", hint=hint, type="unknown_group")


async def _free_address() -> Listen:
    """The usual address of the dashboard, or one with a free port if another program listens there."""
    usual = Listen(DEFAULT_HOST, DEFAULT_PORT)
    try:
        with await listen_on(usual):
            return usual
    except TakoError:
        return Listen(DEFAULT_HOST, 0)


class _Session(DevDaemon):
    """The daemon with what a person sees and presses."""

    command: Options
    _keys: Keys | None = None
    _ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await super().start()
        address = self._address()
        self.events.opened(self._first_screen(address), {"dashboard": address})
        if self.command.once:
            self._ending = asyncio.get_running_loop().create_task(self._end_when_done())
            return
        if address is not None and self.command.open_browser:
            open_page(address)
        if _wants_keys(self.command):
            self._keys = Keys(address, self.refresh, self._scheduled, self._enqueue, self.events.said)
            self._keys.start()

    async def stop(self) -> None:
        if self._keys is not None:
            self._keys.stop()
        if self._ending is not None:
            self._ending.cancel()
        await super().stop()

    def _address(self) -> str | None:
        """The address of the dashboard, with the token that it asks for."""
        address, settings = self.dashboard.address, self.config.web
        if address is None or address.path is not None:
            return None if address is None else str(address)
        where = f"http://{address}{settings.base_path}/"
        if settings.auth == "token":
            from tako_lite.web.auth import read_token  # needs the packages of the dashboard

            where += f"?token={read_token(self.config.state_dir)}"
        return where

    def _first_screen(self, address: str | None) -> list[str]:
        catalog = self.catalog
        lines = [f"{self.config.name} in {self.config.root}"]
        for name in sorted(self.group_names()):
            handlers = [spec.name for spec in catalog.group(name)]
            handlers += [trigger.name for trigger in catalog.triggers.values() if trigger.group == name]
            if handlers:
                lines.append(f"  {name}: {', '.join(handlers)}")
        if not catalog.workflows and not catalog.broken:
            folder = self.config.workflows_path
            shown = folder.relative_to(self.config.root) if folder.is_relative_to(self.config.root) else folder
            lines.append(f"  no workflow yet: write {shown}/hello.py, or run `tako-lite init`")
        ticks = [(next_at, schedule.workflow) for schedule, next_at in self.scheduler.slots() if next_at is not None]
        if ticks:
            at, workflow = min(ticks)
            lines.append(f"  next schedule: {workflow} at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at / 1000))}")
        if address is not None:
            lines.append(f"  dashboard: {address}")
        elif self.command.web and not self.command.once:
            lines.append('  no dashboard: it needs `pip install "tako-lite[web]"`')
        if _wants_keys(self.command):
            lines.append(f"  keys: {'o open the dashboard, ' if address else ''}r reload, s run a schedule, q quit")
        return lines

    def _scheduled(self) -> list[str]:
        return sorted(schedule.workflow for schedule, _ in self.scheduler.slots())

    def _enqueue(self, workflow: str) -> None:
        self.dispatcher.watch(self.commands.execute("enqueue", {"workflow": workflow}), f"run {workflow}")

    async def _end_when_done(self) -> None:
        """End the daemon once nothing is running, due or due soon; what waits for longer stays in the queue."""
        while await self._has_work():  # noqa: ASYNC110 -- the queue has no event for this
            await asyncio.sleep(IDLE_CHECK)
        self.events.is_quiet = True
        stop()

    async def _has_work(self) -> bool:
        served = [group for group in self.groups.values() if not group.paused]
        counts = await self.store.count_by_group(ended=False)
        next_due = self.scheduler.next_due
        is_soon = next_due is not None and next_due <= self.clock.now() + WAITS_FOR * 1000
        return is_soon or any(counts[group.name].running or counts[group.name].due for group in served if group.name in counts)
