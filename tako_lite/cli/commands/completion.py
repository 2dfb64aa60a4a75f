"""`completion`: the scripts that have shells complete the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import click

from tako_lite.cli.options import command, json_option
from tako_lite.cli.output import note, write_json
from tako_lite.errors import BadInput

SHELLS: Final = ("bash", "zsh", "fish")
_BASH_COMPLETION: Final = ("/usr/share/bash-completion/bash_completion", "/opt/homebrew/etc/profile.d/bash_completion.sh")
"""The package that loads the scripts of a folder; where it is missing, .bashrc has to."""


class Place(NamedTuple):
    """Where a shell finds its script, and the line of its start-up file that loads it, if it needs one."""

    script: Path
    start_up: Path | None = None
    line: str = ""


@command
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script where the shell finds it, instead of printing it.")
@json_option
def completion(shell: str, install: bool, as_json: bool) -> None:
    """Print the script that has a shell complete the command line.

    It completes commands, options, the names of the project, and the newest runs.
    """
    script = _script(shell)
    lines = _install(script, _place(shell)) if install else [script]
    if as_json:
        write_json({"shell": shell, "script": script, "file": str(_place(shell).script) if install else None})
        return
    for line in lines:
        click.echo(line)
    if install:
        note(f"start a new {shell} to use it")


def _install(script: str, place: Place) -> list[str]:
    """Write the script where the shell finds it; returns what was done."""
    place.script.parent.mkdir(parents=True, exist_ok=True)
    place.script.write_text(f"{script}\n", encoding="utf-8")
    done = [f"wrote {place.script}"]
    if place.start_up is not None and _add_line(place.start_up, place.line):
        done.append(f"added a line to {place.start_up}")
    return done


def _script(shell: str) -> str:
    from click.shell_completion import get_completion_class

    from tako_lite.cli.app import app
    from tako_lite.cli.completion import VARIABLE

    kind = get_completion_class(shell)
    if kind is None:
        raise BadInput(f"there is no completion for {shell}")
    # Its `source` starts bash to ask for its version, which only a shell that is older than 4.4 needs to know.
    made = kind(app, {}, "tako-lite", VARIABLE)
    return str(made.source_template % made.source_vars())


def _place(shell: str) -> Place:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return Place(config / "fish/completions/tako-lite.fish")
    if shell == "zsh":
        script = data / "tako-lite/completion.zsh"
        line = f'(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}; source "{script}"'
        return Place(script, Path(os.environ.get("ZDOTDIR") or home) / ".zshrc", line)
    script = data / "bash-completion/completions/tako-lite"
    if any(Path(file).exists() for file in _BASH_COMPLETION):
        return Place(script)
    return Place(script, home / ".bashrc", f'source "{script}"')


def _add_line(file: Path, line: str) -> bool:
    """Append a line to a start-up file; False if it has the line already."""
    before = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in before.splitlines():
        return False
    with file.open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(f"{'' if before.endswith(chr(10)) or not before else chr(10)}{line}\n")
    return True
