"""`groups`: what each worker group is and what waits for it, and the tables of tako.toml that it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from tako_lite.cli.options import HELP_NAMES, chosen_config, command, config_option, json_option
from tako_lite.cli.output import draw, note, warn, write, write_json
from tako_lite.cli.queue import Queue
from tako_lite.errors import NotFound
from tako_lite.units import counted

ADD_OPTIONS: Final[Mapping[str, str]] = {
    "workers": "Processes that are always there.",
    "max_workers": "Grow up to this number while work waits.",
    "concurrency": "Runs at a time in one worker.",
    "description": "A note for people.",
    "fallback": "What becomes of runs while the group is not available: wait, fail, cancel or ignore.",
    "wait_timeout": "How long a run waits while the group is not available.",
    "allowed_tenants": "The tenants whose runs it takes, with commas between them.",
}

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show the change.")


class _OrName(click.Group):
    """A group of commands where a word that is none of them is the name of a worker group to show."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments[0] not in self.commands and not arguments[0].startswith("-"):
            return "list", self.commands["list"], arguments
        return super().resolve_command(context, arguments)


@click.group(
    cls=_OrName,
    invoke_without_command=True,
    subcommand_metavar="[NAME | COMMAND [ARGS]...]",
    context_settings={"help_option_names": HELP_NAMES},
)
@config_option
@json_option
@click.pass_context
def groups(context: click.Context, as_json: bool) -> None:
    """Show the worker groups, or change their tables in tako.toml.

    For each group: who serves it, what waits for it and for how long, who may use it. With a NAME, one group with all of
    its settings and where each of them comes from.
    """
    if context.invoked_subcommand is None:
        _print_groups(None, as_json=as_json)


@command
@click.argument("name", required=False)
@json_option
def list_(name: str | None, as_json: bool) -> None:
    """List the groups, or show one of them, as `groups` alone does."""
    _print_groups(name, as_json=as_json)


def _add_options(function: Any) -> Any:
    for key, text in reversed(list(ADD_OPTIONS.items())):
        function = click.option(f"--{key.replace('_', '-')}", key, metavar="VALUE", help=text)(function)
    return function


@command
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@_add_options
@dry_run_option
@json_option
def add(name: str, settings: tuple[str, ...], dry_run: bool, as_json: bool, **options: str | None) -> None:
    """Write a table for a new group into tako.toml, show the change, and reload.

    Any setting of a group can be given as KEY=VALUE.
    """
    from tako_lite.cli import group_edits

    words = [*(f"{key}={value}" for key, value in options.items() if value is not None), *settings]
    _check_once(words)
    _carry_out(group_edits.add(chosen_config(), name, words), dry_run=dry_run, as_json=as_json)


@command
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--unset", multiple=True, metavar="KEY", help="Take a setting out, as KEY= does; may be repeated.")
@dry_run_option
@json_option
def set_(name: str, settings: tuple[str, ...], unset: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Change settings in the table of a group in tako.toml, show the change, and reload.

    Values are written as in tako.toml, without quotes: idle_timeout=5m, allowed_tenants=acme,globex, env.LOG_LEVEL=info.
    """
    from tako_lite.cli import group_edits

    words = [*settings, *(f"{key}=" for key in unset)]
    if not words:
        raise click.UsageError("say what to change: KEY=VALUE, or --unset KEY")
    _check_once(words)
    _carry_out(group_edits.change(chosen_config(), name, words), dry_run=dry_run, as_json=as_json)


@command
@click.argument("name")
@click.option("--to", metavar="GROUP", help="Where the runs of the group go that are not over.")
@dry_run_option
@json_option
def rm(name: str, to: str | None, dry_run: bool, as_json: bool) -> None:
    """Take the tables of a group out of tako.toml, show the change, and reload.

    Refused while anything names the group, and without --to while runs of it are not over.
    """
    from tako_lite.cli import group_edits

    _carry_out(group_edits.remove(chosen_config(), name, to), dry_run=dry_run, as_json=as_json)


def _check_once(words: Sequence[str]) -> None:
    """Refuse a setting with two values: which of them is meant, only who typed them knows."""
    given: dict[str, list[str]] = {}
    for word in words:
        given.setdefault(word.partition("=")[0], []).append(word)
    for key, of_key in given.items():
        if len(of_key) > 1:
            raise click.UsageError(f"{key} is given more than once: {', '.join(of_key)}")


def _carry_out(edit: Any, *, dry_run: bool, as_json: bool) -> None:
    """Show what an edit changes and, unless it is only to be shown, do it."""
    if not as_json and edit.draft.diff:
        write(edit.draft.diff)
    told = {"reloaded": False, "moved": edit.live, "warnings": []} if dry_run else edit.carry_out()
    if as_json:
        about = {"file": str(edit.draft.file), "diff": edit.draft.diff, "saved": edit.changes and not dry_run}
        write_json({**about, **told})
        return
    for warning in told["warnings"]:
        warn(warning)
    is_elsewhere = told.get("served_elsewhere", False)
    if edit.live and not is_elsewhere:
        write(f"{counted(told['moved'], 'run')} {'would go' if dry_run else 'went'} to {edit.to}")
    if dry_run:
        note("nothing was changed: this is what it would be")
    elif not edit.changes:
        write(f"nothing to change in {edit.draft.file}")
    else:
        write(f"{edit.draft.file} is saved" + (", and the daemon has read it" if told["reloaded"] else ""))
    if not (dry_run or told["reloaded"] or is_elsewhere):
        note("no daemon is running; it holds from its next start")


def _print_groups(name: str | None, *, as_json: bool) -> None:
    shown = _described(Queue().ask("status"))
    if name is not None:
        _check_name(name, (group["name"] for group in shown))
        shown = [group for group in shown if group["name"] == name]
    if as_json:
        write_json({"groups": shown})
        return
    from tako_lite.tui.groups import group_view, groups_table

    draw(groups_table(shown) if name is None else group_view(shown[0]))


def _check_name(name: str, known: Iterable[str]) -> None:
    from tako_lite.routing import unknown_group

    names = list(known)
    if name not in names:
        error: NotFound = unknown_group(name, names)
        raise error


def _described(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of `status`, each with what the files say of it, as the server sees them that is running."""
    from tako_lite.cli.project import catalog_of, effective_groups
    from tako_lite.config import load

    server = snapshot["daemon"]["server"] if snapshot["daemon"] else None
    config = load(chosen_config(), server=server)
    catalog = catalog_of(config)
    states = {group["name"]: group for group in snapshot["groups"]}
    found = []
    for name, settings in effective_groups(config, catalog, states).items():
        state = states.get(name) or _unheard_of(name, settings)
        said = {
            "description": settings["description"]["value"],
            "allowed_tenants": settings["allowed_tenants"]["value"],
            "fallback": settings["fallback"]["value"] or "wait",
            "fallback_source": settings["fallback"]["source"],
            "workflows": [spec.name for spec in catalog.group(name)] if catalog else [],
        }
        found.append({**state, **said, "settings": settings})
    return found


def _unheard_of(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of a group that the daemon has not read of yet."""
    from tako_lite.store.base import NO_COUNTS

    pool = {"name": name, "state": "zero", "servers": [], "workers": [], "busy": 0, "last_error": None}
    sizes = {"min_workers": "workers", "max_workers": "max_workers", "concurrency": "concurrency"}
    return {**pool, **{key: settings[setting]["value"] for key, setting in sizes.items()}, **NO_COUNTS.as_json(0)}


groups.add_command(list_, "list")
groups.add_command(add)
groups.add_command(set_, "set")
groups.add_command(rm)
