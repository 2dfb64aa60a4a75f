"""A click group whose commands are imported when they are run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from tako_lite.hints import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

MEANT: Final = {
    **dict.fromkeys(("stop", "shutdown", "quit", "exit", "down"), "Ctrl-C or SIGTERM stops `tako-lite serve`"),
    **dict.fromkeys(("start", "run-daemon", "up", "daemon", "worker", "work"), "did you mean `serve`?"),
    **dict.fromkeys(("ps", "top", "workers", "stats", "monitor", "watch"), "did you mean `status`?"),
    **dict.fromkeys(("list", "ls", "jobs", "tasks", "history"), "did you mean `runs`?"),
    **dict.fromkeys(("add", "submit", "push", "send", "call", "delay", "run", "trigger"), "did you mean `enqueue`?"),
    **dict.fromkeys(("kill", "abort", "revoke", "terminate", "delete"), "did you mean `cancel`?"),
    **dict.fromkeys(("requeue", "replay", "rerun", "redo"), "did you mean `retry`?"),
    **dict.fromkeys(("inspect", "info", "get", "describe", "result"), "did you mean `show`?"),
    **dict.fromkeys(("log", "tail", "output"), "did you mean `logs`?"),
    **dict.fromkeys(("queues", "pools", "group"), "did you mean `groups`?"),
    **dict.fromkeys(("restart", "refresh"), "did you mean `reload`?"),
    **dict.fromkeys(("purge", "clean", "cleanup", "vacuum"), "did you mean `prune`?"),
    **dict.fromkeys(("validate", "lint", "verify", "test"), "did you mean `check`?"),
    **dict.fromkeys(("cron", "beat", "schedule", "crontab"), "did you mean `schedules`?"),
    **dict.fromkeys(("settings", "configuration", "env"), "did you mean `config`?"),
    **dict.fromkeys(("dump", "export", "snapshot"), "did you mean `backup`?"),
    **dict.fromkeys(("health", "diagnose", "repair", "restore"), "did you mean `doctor`?"),
    **dict.fromkeys(("version",), "did you mean `--version`?"),
    **dict.fromkeys(("help",), "did you mean `--help`?"),
    **dict.fromkeys(("new", "create", "startproject", "scaffold"), "did you mean `init`?"),
}
"""Hints for names that other programs use for our commands."""


class LazyGroup(click.Group):
    """A click group over `{command: (module, summary)}`; the command is the module's attribute of that name.

    A command then imports only its own module, and `--help` imports none.
    """

    def __init__(self, *arguments: Any, table: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.table = table

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        command = getattr(import_module(self.table[name][0]), name.replace("-", "_"))
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.table[name][0]}.{name} is not a command")
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin with what is typed, without an import of their modules, and the options."""
        from click.shell_completion import CompletionItem  # only when a shell asks

        found = [CompletionItem(name, help=about) for name, (_, about) in self.table.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, context, incomplete)]

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in self.table and not name.startswith("-"):
            parts = (f"there is no command {name!r}", MEANT.get(name.lower()) or did_you_mean(name, self.table))
            raise click.UsageError("; ".join(filter(None, parts)), context)
        return super().resolve_command(context, arguments)
