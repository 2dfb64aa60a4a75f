"""The settings of `[monitor]` and `[logs]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tako_lite.config.listen import Listen
from tako_lite.secrets import SecretSource

LogStdout = Literal["none", "json"]
LOG_STDOUT: Final[tuple[LogStdout, ...]] = ("none", "json")


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """Where the daemon answers monitoring systems: nowhere, unless `listen` is set."""

    listen: Listen | None = None
    token: SecretSource | None = None
    hosts: tuple[str, ...] = ()
    """Names under which it may be asked, besides IP addresses, `localhost` and the machine's own name."""
    tenants: bool = False
    """Whether counters of runs have the tenant as a label."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What becomes of the output of workers, besides the files of the state folder."""

    stdout: LogStdout = "none"
    max_age: float | None = None
    """Seconds after which rotated files are deleted; None keeps them until they are too many."""
