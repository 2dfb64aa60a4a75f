"""`pause`, `resume` and `scale`: what people ask of a group."""

from __future__ import annotations

from typing import Any

import click

from tako_lite.cli.options import chosen_config, command, json_option
from tako_lite.cli.output import note, warn, write, write_json
from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable, WrongProject
from tako_lite.units import counted

AUTO = "auto"


def workers(text: str) -> int | None:
    """A number of workers, or `auto` (None) for what tako.toml says."""
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise click.BadParameter(f"{text!r} is neither a number of workers (0 to 1000) nor {AUTO}")
    return int(text)


@command
@click.argument("group")
@json_option
def pause(group: str, as_json: bool) -> None:
    """Start no more runs of a group; those under way go on. It stays so over restarts, until `resume`."""
    with Client(chosen_config()) as client:
        client.call("pause", group=group)
    if as_json:
        write_json({"group": group, "paused": True})
    else:
        write(f"{group} is paused")


@command
@click.argument("group")
@json_option
def resume(group: str, as_json: bool) -> None:
    """Let a paused or failing group start runs again; one that could not start tries again at once."""
    with Client(chosen_config()) as client:
        client.call("resume", group=group)
    if as_json:
        write_json({"group": group, "paused": False})
    else:
        write(f"{group} resumed")


@command
@click.argument("group")
@click.argument("number", type=workers)
@click.option("--save", is_flag=True, help="Write it to tako.toml instead, keeping comments, and reload.")
@json_option
def scale(group: str, number: int | None, save: bool, as_json: bool) -> None:
    """Change the number of workers of a group.

    NUMBER are kept running, or with `auto` again as many as tako.toml says. Without --save the number stands in the
    queue, over restarts, until `auto`.
    """
    if save:
        if number is None:
            raise click.UsageError(f"--save needs a number: `{AUTO}` is what the file says already")
        _save(group, number, as_json=as_json)
        return
    with Client(chosen_config()) as client:
        client.call("scale", group=group, workers=number)
        kept = _kept_workers(client, group)
    if as_json:
        write_json({"group": group, "workers": kept, "source": "scale" if number is not None else "tako.toml"})
    elif number is not None:
        write(f"{group} is kept at {counted(number, 'worker')}")
    else:
        write(f"{group}: the number of workers is back to that of tako.toml ({kept})")


def _kept_workers(client: Client, group: str) -> int:
    """How many workers of a group are always there."""
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
        with Client(chosen_config()) as client:
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
        note("no daemon is running; it holds from its next start")
