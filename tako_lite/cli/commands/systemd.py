"""`systemd`: prints or installs the units of a project."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from tako_lite.cli.options import chosen_config, command, json_option, server_option
from tako_lite.cli.output import note, write, write_json
from tako_lite.cli.systemd_units import Choices, units
from tako_lite.config import Config, load
from tako_lite.errors import BadInput, TakoError
from tako_lite.names import NAME, NAME_HINT
from tako_lite.unpack import program

SYSTEM: Final = Path("/etc/systemd/system")
CHECK_LIMIT: Final = 30


@command
@server_option
@click.option("--system/--user", "system", default=True, help="Units for the machine, or for your own service manager.")
@click.option("--socket", is_flag=True, help="Start the daemon when a client connects, and end it when it is idle.")
@click.option("--schedules", is_flag=True, help="The same, and start it when a run, a sleep or a schedule is due.")
@click.option("--name", metavar="NAME", help="Name of the units  [default: tako- and the name of the project]")
@click.option("--print/--install", "only_print", default=True, help="Print the units, or write their files.")
@json_option
def systemd(
    server: str | None, system: bool, socket: bool, schedules: bool, name: str | None, only_print: bool, as_json: bool
) -> int:
    """Print the units of systemd for this project, or install them.

    They have absolute paths, the user who owns the project's folder, and a stop timeout that covers every `drain_timeout`.
    If systemd-analyze is installed, it checks them.
    """
    config = load(chosen_config(), server=server)
    if name is not None and not NAME.fullmatch(name):
        raise BadInput(f"--name {name!r} is not a name", hint=NAME_HINT)
    root = _logical(config.root)
    user = pwd.getpwuid(config.root.stat().st_uid).pw_name if system else None
    choices = Choices(name or f"tako-{config.name}", user, _program(config.root, root), root, socket or schedules, schedules)
    texts = units(_seen_from(config, root), choices)
    folder = SYSTEM if system else _user_folder()
    if not only_print:
        _install(folder, texts)
    complaints = _verify(texts, system=system)
    if as_json:
        write_json({"units": texts, "folder": str(folder), "installed": not only_print, "complaints": complaints})
    else:
        for file, text in texts.items():
            write(f"# {folder / file}\n{text}" if only_print else f"wrote {folder / file}")
    for complaint in complaints:
        note(f"systemd-analyze: {complaint}")
    if not as_json:
        note(_next(choices, texts, installed=not only_print))
    return TakoError.exit_code if complaints else 0


def _logical(root: Path) -> Path:
    """The folder as the shell names it: in `current`, a link to the newest release, the units must name the link."""
    named = os.environ.get("PWD", "")
    if named and Path(named).is_absolute() and Path(named).exists() and Path(named).samefile(Path.cwd()):
        below = Path.cwd()
        if root == below or below.is_relative_to(root):
            found = Path(named)
            for _ in below.relative_to(root).parts:
                found = found.parent
            return found if found.exists() and found.samefile(root) else root
    return root


def _seen_from(config: Config, root: Path) -> Config:
    """The same project, with the paths below its folder as `root` names it."""
    from dataclasses import replace

    state_dir = config.state_dir
    if state_dir.is_relative_to(config.root):
        state_dir = root / state_dir.relative_to(config.root)
    return replace(config, state_dir=state_dir)


def _program(real: Path, root: Path) -> list[str]:
    """The words that start tako-lite, without links that a later release would change."""
    words, _ = program()
    script = Path(sys.executable).with_name("tako-lite")
    if words[1] == "-m" and script.exists():
        words = [str(script)]
    return [str(root / Path(word).relative_to(real)) if Path(word).is_relative_to(real) else word for word in words]


def _user_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


def _install(folder: Path, texts: dict[str, str]) -> None:
    """Write the files of the units. Raises BadInput where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            beside = folder / f".{file}.tmp"
            beside.write_text(text)
            beside.chmod(0o644)
            beside.replace(folder / file)
    except OSError as error:
        raise BadInput(f"cannot write {error.filename}: {error.strerror}", hint="sudo, or --user for your own units") from None


def _verify(texts: dict[str, str], *, system: bool) -> list[str]:
    """What systemd-analyze has against the units; nothing where it is not installed."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in texts]
        for file in files:
            file.write_text(texts[file.name])
        mode = [] if system else ["--user"]
        done = subprocess.run(
            [analyze, *mode, "verify", "--man=no", "--recursive-errors=no", *map(str, files)],
            capture_output=True,
            text=True,
            timeout=CHECK_LIMIT,
            check=False,
        )
        lines = (done.stdout + done.stderr).splitlines()
        return [line.replace(f"{folder}/", "") for line in lines if any(name in line for name in texts)]


def _next(choices: Choices, texts: dict[str, str], *, installed: bool) -> str:
    """What to type next."""
    manager = "systemctl" if choices.user is not None else "systemctl --user"
    wanted = [file for file in texts if not choices.socket or file.endswith(".socket") or choices.schedules]
    enable = f"{manager} daemon-reload && {manager} enable --now {' '.join(sorted(wanted))}"
    lines = [f"next: {enable}" if installed else f"--install writes them; then: {enable}"]
    if choices.socket and not choices.schedules:
        lines.append("schedules, sleeps and delayed runs wait until a client connects; --schedules starts the daemon for them")
    if choices.user is None:
        lines.append("your units run only while you are logged in, unless: loginctl enable-linger")
    return "\n".join(lines)
