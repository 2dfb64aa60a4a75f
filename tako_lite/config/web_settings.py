"""The settings of the dashboard, which are checked whether its extra is installed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tako_lite.config.listen import Listen
from tako_lite.secrets import SecretSource

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8256
"""TAKO on the keys of a telephone."""

RIGHTS: Final = (
    "enqueue",
    "retry",
    "cancel",
    "run_now",
    "edit",
    "move",
    "discard",
    "bulk",
    "signal",
    "pause",
    "resume",
    "scale",
    "reload",
    "schedule_pause",
    "schedule_run",
    "trigger_pause",
    "trigger_run",
    "see_payloads",
    "see_logs",
    "see_source",
)
"""The words of `may`: what visitors may do and see."""
EVERYTHING: Final = "*"

Auth = Literal["token", "basic", "proxy", "none"]
AUTHS: Final[tuple[Auth, ...]] = ("token", "basic", "proxy", "none")
Payloads = Literal["show", "hide", "never"]
PAYLOADS: Final[tuple[Payloads, ...]] = ("show", "hide", "never")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the dashboard is served. Times are seconds; `listen` is None where nothing listens unless a person starts it."""

    listen: Listen | None = None
    autostart: bool = True
    idle_timeout: float = 300.0
    base_path: str = ""
    hosts: tuple[str, ...] = ()
    auth: Auth = "token"
    password: SecretSource | None = None
    proxy_header: str = "X-Forwarded-User"
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "unix")
    read_only: bool = False
    may: tuple[str, ...] = (EVERYTHING,)
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The rights of single visitors, by name; those of all others are `may`."""
    payloads: Payloads = "show"
    refresh: float = 1.0
