"""A group of commands that are listed by name and imported when they are run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tako_lite.hints import did_you_mean


class LazyGroup(click.Group):
    """A click group over `{command: (module, summary)}`; the command is the module's attribute of that name.

    The start-up of a command is then its own imports and nobody else's, and `--help` imports none of them.
    """

    def __init__(self, *arguments: Any, table: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.table = table

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        command = getattr(import_module(self.table[name][0]), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.table[name][0]}.{name} is not a command")
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in self.table and not name.startswith("-"):
            parts = (f"there is no command {name!r}", did_you_mean(name, self.table))
            raise click.UsageError("; ".join(filter(None, parts)), context)
        return super().resolve_command(context, arguments)
