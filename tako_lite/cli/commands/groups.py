"""`groups`, `pause`, `resume` and `scale`: worker groups, their tables in tako.toml, and what operators change at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from tako_lite.cli.options import HELP_NAMES, chosen_config, command, config_option, json_option, note_option, without_none
from tako_lite.cli.output import draw, note, warn, write, write_json
from tako_lite.cli.queue import QueueReader
from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable, WrongProject
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.cli.group_edits import GroupEdit

ADD_OPTIONS: Final[Mapping[str, str]] = {
    "workers": "Number of processes that always run.",
    "max_workers": "Maximum number of processes while runs wait.",
    "concurrency": "Maximum number of runs at a time in one worker.",
    "description": "A note for people.",
    "fallback": "What happens to runs while the group is unavailable: wait, fail, cancel or ignore.",
    "wait_timeout": "Maximum time that a run waits while the group is unavailable.",
    "allowed_tenants": "Tenants whose runs the group accepts, separated by commas.",
}
AUTO: Final = "auto"
NO_DAEMON: Final = "no daemon is running; the change takes effect at its next start"

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show the change.")


class _OrName(click.Group):
    """A click group in which a word that is not a command is the name of a worker group to show."""

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

    For each group: which servers and workers serve it, how many runs wait and for how long, and which tenants may use it.
    With a NAME, show one group with all of its settings and the source of each.
    """
    if context.invoked_subcommand is None:
        _print_groups(None, as_json=as_json)


@command
@click.argument("name", required=False)
@json_option
def list_(name: str | None, as_json: bool) -> None:
    """List the groups, or show one of them, like `groups` without a command."""
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
    """Add a table for a new group to tako.toml, show the change, and reload.

    KEY=VALUE accepts every setting of a group.
    """
    from tako_lite.cli import group_edits

    words = [*(f"{key}={value}" for key, value in options.items() if value is not None), *settings]
    _refuse_repeated(words)
    _carry_out(group_edits.add(chosen_config(), name, words), dry_run=dry_run, as_json=as_json)


@command
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--unset", multiple=True, metavar="KEY", help="Remove a setting, like KEY=; may be repeated.")
@dry_run_option
@json_option
def set_(name: str, settings: tuple[str, ...], unset: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Change settings in a group's table in tako.toml, show the change, and reload.

    Write values as in tako.toml, but without quotes: idle_timeout=5m, allowed_tenants=acme,globex, env.LOG_LEVEL=info.
    """
    from tako_lite.cli import group_edits

    words = [*settings, *(f"{key}=" for key in unset)]
    if not words:
        raise click.UsageError("nothing to change: give KEY=VALUE or --unset KEY")
    _refuse_repeated(words)
    _carry_out(group_edits.change(chosen_config(), name, words), dry_run=dry_run, as_json=as_json)


@command
@click.argument("name")
@click.option("--to", metavar="GROUP", help="The group that takes over the runs that have not ended.")
@dry_run_option
@json_option
def rm(name: str, to: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove the tables of a group from tako.toml, show the change, and reload.

    Fails while a workflow or another table refers to the group. Needs --to if the group has runs that have not ended.
    """
    from tako_lite.cli import group_edits

    _carry_out(group_edits.remove(chosen_config(), name, to), dry_run=dry_run, as_json=as_json)


def _refuse_repeated(words: Sequence[str]) -> None:
    """Raise UsageError for a setting that is given more than once."""
    by_key: dict[str, list[str]] = {}
    for word in words:
        by_key.setdefault(word.partition("=")[0], []).append(word)
    for key, of_key in by_key.items():
        if len(of_key) > 1:
            raise click.UsageError(f"{key} is given more than once: {', '.join(of_key)}")


def _carry_out(edit: GroupEdit, *, dry_run: bool, as_json: bool) -> None:
    """Show what an edit changes and, without `--dry-run`, apply it."""
    if not as_json and edit.draft.diff:
        write(edit.draft.diff)
    unchanged: dict[str, Any] = {"reloaded": False, "moved": edit.live, "warnings": []}
    outcome = unchanged if dry_run else edit.carry_out()
    if as_json:
        about = {"file": str(edit.draft.file), "diff": edit.draft.diff, "saved": edit.changes and not dry_run}
        write_json({**about, **outcome})
        return
    for warning in outcome["warnings"]:
        warn(warning)
    is_elsewhere = outcome.get("served_elsewhere", False)
    if edit.live and not is_elsewhere:
        write(f"{'would move' if dry_run else 'moved'} {counted(outcome['moved'], 'run')} to group {edit.to}")
    if dry_run:
        note("dry run: nothing was changed")
    elif not edit.changes:
        write(f"nothing to change in {edit.draft.file}")
    else:
        write(f"saved {edit.draft.file}" + ("; the daemon has reloaded it" if outcome["reloaded"] else ""))
    if not (dry_run or outcome["reloaded"] or is_elsewhere):
        note(NO_DAEMON)


def _print_groups(name: str | None, *, as_json: bool) -> None:
    from tako_lite.cli.project_catalog import catalog_of
    from tako_lite.config import load
    from tako_lite.group_report import described_groups
    from tako_lite.routing import unknown_group

    snapshot = QueueReader().ask("status")
    config = load(chosen_config(), server=snapshot["daemon"]["server"] if snapshot["daemon"] else None)
    found = described_groups(snapshot, config, catalog_of(config))
    if name is not None:
        names = [group["name"] for group in found]
        if name not in names:
            raise unknown_group(name, names)
        found = [group for group in found if group["name"] == name]
    if as_json:
        write_json({"groups": found})
        return
    from tako_lite.tui.groups import group_view, groups_table

    draw(groups_table(found) if name is None else group_view(found[0]))


@command
@click.argument("group")
@note_option
@json_option
def pause(group: str, note: str | None, as_json: bool) -> None:
    """Stop starting runs of a group.

    Running runs continue. The group stays paused until `resume`, even if the daemon restarts.
    """
    with Client(chosen_config(), source="cli") as client:
        client.call("pause", **without_none(group=group, note=note))
    if as_json:
        write_json({"group": group, "paused": True})
    else:
        write(f"group {group} paused")


@command
@click.argument("group")
@json_option
def resume(group: str, as_json: bool) -> None:
    """Let a paused or failing group start runs again.

    A group that failed to start is tried again at once.
    """
    with Client(chosen_config(), source="cli") as client:
        client.call("resume", group=group)
    if as_json:
        write_json({"group": group, "paused": False})
    else:
        write(f"group {group} resumed")


def workers(text: str) -> int | None:
    """A number of workers, or `auto` (None) for the number in tako.toml."""
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise click.BadParameter(f"{text!r} is neither a number of workers (0 to 1000) nor {AUTO}")
    return int(text)


@command
@click.argument("group")
@click.argument("number", type=workers)
@click.option("--save", is_flag=True, help="Write the number to tako.toml instead, keeping comments, and reload.")
@json_option
def scale(group: str, number: int | None, save: bool, as_json: bool) -> None:
    """Change the number of workers of a group.

    NUMBER is how many workers always run; `auto` restores the number in tako.toml. Without --save, the queue stores the
    number, and it applies until `auto`, even if the daemon restarts.
    """
    if save:
        if number is None:
            raise click.UsageError(f"--save needs a number: `{AUTO}` already means the number in tako.toml")
        _save(group, number, as_json=as_json)
        return
    with Client(chosen_config(), source="cli") as client:
        client.call("scale", group=group, workers=number)
        kept = _kept_workers(client, group)
    if as_json:
        write_json({"group": group, "workers": kept, "source": "scale" if number is not None else "tako.toml"})
    elif number is not None:
        write(f"group {group} scaled to {counted(number, 'worker')}")
    else:
        write(f"group {group} scaled to {counted(kept, 'worker')}, as in tako.toml")


def _kept_workers(client: Client, group: str) -> int:
    """How many workers of a group always run."""
    found: dict[str, Any] = next(shape for shape in client.status()["groups"] if shape["name"] == group)
    return int(found["min_workers"])


def _save(group: str, number: int, *, as_json: bool) -> None:
    from tako_lite.cli.group_edits import not_reloaded
    from tako_lite.cli.toml_draft import save_workers

    saved = save_workers(chosen_config(), group, number)
    warnings, reloaded = [saved.warning] if saved.warning else [], False
    if not as_json:
        write(f"{saved.file}: [workflows.{group}] workers = {number}")
    is_elsewhere = False
    try:
        with Client(chosen_config(), source="cli") as client:
            warnings += client.call("reload")["warnings"]
            reloaded = True
            client.call("scale", group=group, workers=None)
    except DaemonUnreachable:
        pass
    except WrongProject as error:
        is_elsewhere = True
        warnings.append(not_reloaded(error))
    if as_json:
        write_json(
            {"group": group, "workers": number, "source": "tako.toml", "file": str(saved.file), "reloaded": reloaded}
            | {"warnings": warnings}
        )
        return
    for warning in warnings:
        warn(warning)
    if not reloaded and not is_elsewhere:
        note(NO_DAEMON)


groups.add_command(list_, "list")
groups.add_command(add)
groups.add_command(set_, "set")
groups.add_command(rm)
