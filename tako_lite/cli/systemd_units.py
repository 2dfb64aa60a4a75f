"""The units of systemd for a project: its service, and the sockets that start the service when a client connects.

docs/deploying.md explains each line, and which lines are left out on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.config import Config
from tako_lite.config.files import SOCKET_NAME
from tako_lite.daemon.idle_exit import NEXT_DUE
from tako_lite.errors import BadInput
from tako_lite.listening import LONGEST_PATH

GRACE: Final = 15
"""Seconds that the end of the daemon may take beyond the longest `drain_timeout`."""
IDLE_EXIT: Final = "10m"

_SANDBOX: Final = """\
# The handlers may write these folders and a private /tmp. Name more folders here if they write elsewhere.
ReadWritePaths={folders}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp={private_tmp}
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
CapabilityBoundingSet="""
_HIDDEN_BY_PRIVATE_TMP: Final = ("/tmp", "/var/tmp")  # noqa: S108
_SANDBOX_OF_ALL: Final = """\
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077"""


class Choices(NamedTuple):
    """What the units are for. `user` is the user of the service, None for units of the user's own service manager."""

    name: str
    user: str | None
    program: list[str]
    root: Path
    socket: bool
    schedules: bool


def units(config: Config, choices: Choices) -> dict[str, str]:
    """The texts of the units by their file names. Raises BadInput for a path that systemd cannot listen on."""
    found = {f"{choices.name}.service": "\n".join(_service(config, choices)) + "\n"}
    if choices.socket:
        found[f"{choices.name}.socket"] = "\n".join(_control_socket(config, choices)) + "\n"
    if choices.socket and config.web.listen is not None and config.web.autostart:
        place = config.web.listen.path or config.web.listen
        found[f"{choices.name}-web.socket"] = "\n".join(_socket(choices, "web", str(place), "dashboard")) + "\n"
    return found


def _service(config: Config, choices: Choices) -> Iterator[str]:
    config_path = choices.root if config.file is None or config.file.name == "tako.toml" else choices.root / config.file.name
    begin = [*choices.program, "-c", str(config_path)]
    serve = [*begin, "serve", "--log-format", "journald"]
    yield f"[Unit]\nDescription={_plain(f'tako-lite: {config.name}')}"
    if choices.user is not None:
        yield "After=network-online.target\nWants=network-online.target"
    yield "StartLimitIntervalSec=60\nStartLimitBurst=5\n\n[Service]\nType=notify\nNotifyAccess=main"
    if choices.socket:
        sockets = [f"{choices.name}.socket"]
        if config.web.listen is not None and config.web.autostart:
            sockets.append(f"{choices.name}-web.socket")
        yield f"Sockets={' '.join(sockets)}"
        serve += ["--idle-exit", IDLE_EXIT]
    if choices.user is not None:
        yield f"ExecStartPre=+{_make_folder(config, choices)}"
    yield f"ExecStart={_command(serve)}"
    yield f"ExecReload={_command([*begin, 'reload'])}"
    if choices.schedules:
        yield from _wake_up(config, choices)
    if choices.user is not None:
        yield f"User={choices.user}"
    yield f"WorkingDirectory={_plain(str(choices.root))}"
    yield "# 2: wrong usage, 3: mistakes in files, 6: another daemon serves the project. A restart does not help."
    yield "Restart=on-failure\nRestartSec=1\nRestartPreventExitStatus=2 3 6"
    longest = max(group.drain_timeout for group in config.groups.values())
    yield f"# Longer than the longest drain_timeout, which is {longest:g} s.\nTimeoutStopSec={math.ceil(longest) + GRACE}"
    yield "TimeoutStartSec=300\n# The daemon alone gets SIGTERM, and drains its workers.\nKillMode=mixed"
    yield "# A worker that is killed for its memory must not end the service.\nOOMPolicy=continue"
    yield "# WatchdogSec=30 restarts a daemon that hangs, for four wake-ups a minute."
    if (nice := min(group.nice for group in config.groups.values())) < 0:
        yield f"LimitNICE={nice}"
    yield "\n" + _SANDBOX_OF_ALL
    if choices.user is not None:
        folders = [choices.root, *_written(config)]
        in_tmp = any(folder.is_relative_to(tmp) for folder in folders for tmp in _HIDDEN_BY_PRIVATE_TMP)
        written = _command([str(folder) for folder in folders[1:]])
        yield _SANDBOX.format(folders=written, private_tmp="no" if in_tmp else "yes")
    if not choices.socket or choices.schedules:
        yield f"\n[Install]\nWantedBy={'default.target' if choices.user is None else 'multi-user.target'}"


def _wake_up(config: Config, choices: Choices) -> Iterator[str]:
    """After the daemon has ended because it was idle, have a transient timer start it when the next run is due."""
    manager = "systemctl" if choices.user is not None else "systemctl --user"
    run = "systemd-run" if choices.user is not None else "systemd-run --user"
    timer = f"{choices.name}-wake"
    file = _shell(config.state_dir / NEXT_DUE)
    script = (
        f"{manager} stop {timer}.timer 2>/dev/null; [ -s {file} ] && read due <{file} || exit 0; "
        "at=$(((due + 999) / 1000)) now=$(date +%s); [ $at -gt $now ] || at=$((now + 1)); "
        f"exec {run} --quiet --unit={timer} --on-calendar=@$at --timer-property=AccuracySec=1s "
        f"{manager} --no-block start {choices.name}.service"
    )
    privileged = "+" if choices.user is not None else ""
    yield "# Starts the daemon again when the next run, sleep or schedule is due."
    yield f"ExecStopPost=-{privileged}/bin/sh -c {_quoted(script)}"


def _make_folder(config: Config, choices: Choices) -> str:
    """The command that makes the state folder: systemd would make it as root, and the sandbox needs it."""
    owner = [] if choices.user is None else ["-o", choices.user]
    return _command(["/usr/bin/install", "-d", "-m", "0700", *owner, str(config.state_dir)])


def _written(config: Config) -> list[Path]:
    """The folders that the daemon writes."""
    others = (folder for folder in config.queue.location.folders() if folder.resolve() != config.state_dir.resolve())
    return [config.state_dir, *others]


def _control_socket(config: Config, choices: Choices) -> Iterator[str]:
    path = config.state_dir / SOCKET_NAME
    if len(str(path).encode()) > LONGEST_PATH:
        raise BadInput(
            f"systemd cannot listen on {path}, which has more than {LONGEST_PATH} bytes",
            hint="set a shorter `state_dir` in tako.toml",
        )
    yield from _socket(choices, "control", str(path), "control socket", _make_folder(config, choices))


def _socket(choices: Choices, name: str, place: str, what: str, before: str | None = None) -> Iterator[str]:
    yield f"[Unit]\nDescription={_plain(f'tako-lite: {what} of {choices.name}')}\n"
    yield f"[Socket]\nListenStream={_plain(place)}\nFileDescriptorName={name}\nService={choices.name}.service"
    if before is not None:
        yield f"ExecStartPre={before}"
    if place.startswith("/"):
        yield "SocketMode=0600\nDirectoryMode=0700\nRemoveOnStop=no"
        if choices.user is not None:
            yield f"SocketUser={choices.user}"
    yield "\n[Install]\nWantedBy=sockets.target"


def _command(words: list[str]) -> str:
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """A word of a command line, or of a list of paths, as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    plain = escaped == word and not any(character in word for character in " '\t;")
    return word if plain and word else f'"{escaped}"'


def _plain(text: str) -> str:
    """The value of a setting that systemd takes as it stands, up to the end of the line."""
    return text.replace("%", "%%")


def _shell(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
