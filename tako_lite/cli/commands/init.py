"""`init`: a project with a workflow and a test that passes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import click

from tako_lite.cli.options import HELP_NAMES, config_option, json_option
from tako_lite.cli.output import note, write, write_json
from tako_lite.cli.scaffold import DEPLOYMENTS, TEMPLATES
from tako_lite.errors import BadInput
from tako_lite.names import NAME, NAME_HINT

_ENQUEUE: Final = {
    "minimal": """hello '{"name": "Ann"}'""",
    "web-fastapi": """welcome '{"email": "ann@example.com", "name": "Ann"}'""",
    "web-flask": """welcome '{"email": "ann@example.com", "name": "Ann"}'""",
    "web-django": """hello '"Ann"'""",
    "cron": "nightly",
    "agent": """agent '{"question": "add 4 and 38"}'""",
}
"""What to enqueue first, by template."""


@click.command(context_settings={"help_option_names": HELP_NAMES})
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--template",
    type=click.Choice(TEMPLATES),
    help="What to begin with  [default: by manage.py and the dependencies in DIR, else minimal]",
)
@click.option("--name", metavar="NAME", help="Name of the project  [default: that of the folder]")
@click.option("--agents", is_flag=True, help="Also write AGENTS.md, with rules for coding assistants.")
@click.option(
    "--deploy", type=click.Choice([*DEPLOYMENTS]), help="Also write deploy/, for a server with systemd or a container."
)
@click.option("--force", is_flag=True, help="Where a file exists, write the new one beside it, as FILE.tako-new.")
@click.option("--no-git", is_flag=True, help="Do not make a git repository.")
@config_option
@json_option
def init(
    folder: Path,
    template: str | None,
    name: str | None,
    agents: bool,
    deploy: str | None,
    force: bool,
    no_git: bool,
    as_json: bool,
) -> None:
    """Make a project with a workflow and a test that passes.

    It asks nothing and overwrites nothing: files that exist are listed and stay as they are.
    """
    from tako_lite.cli import scaffold

    root = folder.absolute()
    if name is not None and not NAME.fullmatch(name):
        raise BadInput(f"--name: {name!r} is not a name", hint=NAME_HINT)
    chosen = template or scaffold.detect(root)
    wanted = scaffold.files_of(chosen, root, name or scaffold.project_name(root), agents=agents, deploy=deploy)
    root.mkdir(parents=True, exist_ok=True)
    done = scaffold.write(root, wanted, force=force)
    if scaffold.ignore_state(root):
        done.made.append(".gitignore")
    if not no_git:
        _make_repository(root)
    commands = [f"tako-lite enqueue {_ENQUEUE[chosen]}", "tako-lite dev"]
    commands = [*([f"cd {folder}"] if folder != Path() else []), "pytest", *reversed(commands)]
    if as_json:
        write_json({"root": str(root), "template": chosen, **done._asdict(), "next": commands})
        return
    for path in sorted(done.made):
        write(f"  {path}")
    beside = "the new one is beside it" if force else "--force writes the new one beside it"
    for path in done.kept:
        note(f"{path} exists and was left as it is; {beside}")
    write(f"{chosen} project in {root}. Next:")
    for command in commands:
        write(f"  {command}")


def _make_repository(root: Path) -> None:
    """Make a git repository, if there is git and the folder is in none."""
    git = shutil.which("git")
    if git is None:
        return
    inside = subprocess.run([git, "-C", str(root), "rev-parse", "--git-dir"], capture_output=True, check=False)
    if inside.returncode != 0:
        subprocess.run([git, "-C", str(root), "init", "--quiet"], capture_output=True, check=False)
