"""The command line of tako-lite as a command of a framework's own: `flask tako status`, `litestar tako status`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from tako_lite.cli.main import main

_LONG_LIVED: Final = frozenset({"serve", "dev", "web"})


def words_for(config: str | Path | None, words: Sequence[str]) -> list[str]:
    """A command line for a project, unless it names one itself."""
    named = any(word in ("-c", "--config") or word.startswith("--config=") for word in words)
    return list(words) if config is None or named else ["-c", str(config), *words]


def become(words: Sequence[str]) -> None:
    """Replace this process by `tako-lite`, which then does not carry the application."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tako_lite", *words])


def tako_command(config_of: Callable[[], str | Path | None]) -> click.Command:
    """The command `tako`. What runs for long becomes a process without the application; the rest runs in this one."""

    def run(words: tuple[str, ...], **_: Any) -> None:
        chosen = words_for(config_of(), words)
        if _LONG_LIVED.intersection(words[:1]):
            become(chosen)
        sys.exit(main(chosen))

    return click.Command(
        "tako",
        callback=run,
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
        help="Run a command of tako-lite for the project of this application, such as `status` or `serve`.",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
