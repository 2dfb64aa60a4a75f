"""The daemon of `dev`: it reloads when a file is saved, and refuses workflows of files that have a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tako_lite.catalog import Catalog, stamps
from tako_lite.clock import SystemClock
from tako_lite.config import Config, load
from tako_lite.config.listen import Listen
from tako_lite.daemon.daemon import Daemon
from tako_lite.dev.catalog import DevCatalog
from tako_lite.dev.screen import DevEvents
from tako_lite.dev.settings import for_development
from tako_lite.dev.sources import TrialImports, read_catalog
from tako_lite.dev.watch import SourceWatch
from tako_lite.errors import CatalogError, ConfigError, Mistake, TakoError
from tako_lite.lock import FileLock, Holder
from tako_lite.processes.group import Group
from tako_lite.stamps import FileStamp, file_stamp


class DevOptions(NamedTuple):
    """The options of `dev` that its daemon heeds. `dashboard` is None for none, `groups` empty for all."""

    dashboard: Listen | None
    groups: Collection[str] = ()
    reload: bool = True
    schedules: bool = True


class DevDaemon(Daemon):
    """A daemon for one person, who edits the files that it serves."""

    catalog: DevCatalog
    events: DevEvents

    def __init__(
        self,
        config: Config,
        catalog: DevCatalog,
        options: DevOptions,
        locks: Collection[FileLock],
        last: Holder | None,
        on_reload: Callable[[Collection[str]], None],
    ) -> None:
        self._options = options
        super().__init__(config, catalog, SystemClock(), DevEvents(), locks, last)
        self._trials = TrialImports(self.spawner)
        self._on_reload = on_reload
        self._reported: tuple[Mistake, ...] = ()
        self._refreshing: asyncio.Task[None] | None = None
        self._is_stale = False
        self.scheduler.fires = options.schedules
        self._watch = SourceWatch(self._files, self._folders, self.refresh)
        self.narrate()

    @property
    def deaths(self) -> int:
        """How many runs have died since the start."""
        return self.events.deaths

    async def start(self) -> None:
        """Start as any daemon does, then watch the files."""
        await super().start()
        if self._options.reload:
            self._watch.start()

    async def stop(self) -> None:
        self._watch.stop()
        if self._refreshing is not None:
            self._refreshing.cancel()
        await super().stop()

    def refresh(self) -> None:
        """Read the files again in the background, after a save or on request."""
        self._is_stale = True
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_while_stale())

    async def _refresh_while_stale(self) -> None:
        while self._is_stale:
            self._is_stale = False
            await self._refresh()

    async def _refresh(self) -> None:
        with self.events.unexpected.guarded("the reload"):
            try:
                await super().reload()
            except (ConfigError, CatalogError) as error:
                self._report(error.mistakes)
            except TakoError as error:
                self.events.trouble(f"not reloaded: {error.message}")
        if self._options.reload:
            self._watch.start()

    async def reload(self) -> dict[str, Any]:
        """Reload for a client. Raises CatalogError if a file has a mistake; the other files are reloaded all the same."""
        answer = await super().reload()
        if self.catalog.broken:
            raise CatalogError(_mistakes_of(self.catalog))
        return answer

    async def _read_again(self) -> tuple[Config, Catalog]:
        return await self._read(self.config)

    async def _read(self, old: Config) -> tuple[Config, DevCatalog]:
        def read() -> tuple[Config, DevCatalog]:
            found = replace(load(old.file, server=old.server), served=old.served)
            config = for_development(found, self._options.dashboard)
            return config, read_catalog(config, self.catalog)

        config, found = await asyncio.to_thread(read)
        return config, await self._trials.check(config, found, self.catalog)

    def _report(self, mistakes: tuple[Mistake, ...]) -> None:
        known, self._reported = self._reported, mistakes
        if new := [mistake for mistake in mistakes if mistake not in known]:
            self.events.broken(new)
        if fixed := {mistake.file for mistake in known} - {mistake.file for mistake in mistakes}:
            self.events.fixed(sorted(fixed))

    async def _start_groups(self) -> None:
        await self._warm_up()
        self._use(self.config, await self._trials.check(self.config, self.catalog, self.catalog))
        await super()._start_groups()

    def _use(self, config: Config, catalog: Catalog) -> None:
        super()._use(config, catalog)
        if hasattr(self, "_reported"):  # not while this class is being made: the first catalog was not imported on trial yet
            self._on_reload(self.group_names())
            self._report(_mistakes_of(self.catalog))  # only now are enqueues refused, or accepted again

    def ensure_group(self, name: str) -> Group:
        """The group of this name; one that was not asked for is paused."""
        is_new = name not in self.groups
        group = super().ensure_group(name)
        if is_new and self._options.groups and name not in self._options.groups:
            group.paused, group.scale = True, 0
        return group

    def _has_changed(self, group: Group, old: Catalog) -> bool:
        """Whether to replace the workers of a group. A broken file is no reason: what runs stays in the older code."""
        settings = self._settings(group.name)
        if settings != group.settings:
            return True
        broken = self.catalog.broken_paths
        modules = {spec.module: spec.file for spec in [*old.workflows.values(), *self.catalog.workflows.values()]}
        differing = set(self.catalog.modules(group.name)) ^ set(old.modules(group.name))
        if any(modules.get(module) not in broken for module in differing):
            return True
        changed = [file for file, stamp in group.loaded.items() if file_stamp(file) != stamp]
        if group.failures or any(Path(file) not in broken for file in changed):
            return True
        has_broken = any(group.name in file.groups for file in self.catalog.broken)
        return not group.loaded and not has_broken and group.name in self._trials.renewed

    # What is watched

    def _files(self) -> Mapping[Path, FileStamp | None]:
        """Every source file with the stamp that it had when it was read; a folder may have files that are new since."""
        found: dict[Path, FileStamp | None] = dict.fromkeys(stamps(self.config.workflows_path))
        for group in self.groups.values():
            found |= {Path(file): stamp for file, stamp in group.loaded.items()}
        found |= {file: file_stamp(file) for file in self.catalog.broken_paths}
        found |= self._trials.files
        found |= self.catalog.files
        return found | ({self.config.file: file_stamp(self.config.file)} if self.config.file else {})

    def _folders(self) -> set[Path]:
        workflows = self.config.workflows_path
        below = {path for path in workflows.rglob("*") if path.is_dir() and path.name != "__pycache__"}
        return {self.config.root, workflows, *below, *(file.parent for file in self._files())}


def _mistakes_of(catalog: DevCatalog) -> tuple[Mistake, ...]:
    """Every mistake once: one module may be the reason why several files do not import."""
    return tuple(dict.fromkeys(mistake for broken in catalog.broken for mistake in broken.mistakes))
