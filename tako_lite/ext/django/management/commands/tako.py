"""`manage.py tako …`: the command line of tako-lite for the project that the settings name."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tako_lite.cli.main import main
from tako_lite.ext.django.project import project_of_settings


class Command(BaseCommand):
    """Runs a command of tako-lite."""

    help = "Run a command of tako-lite, such as `manage.py tako status`; `manage.py tako --help` lists them."
    requires_system_checks: Any = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Become `tako-lite`, in a process without Django: a daemon should not carry it for its whole life."""
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "tako_lite", *_words(argv[2:])])

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs=REMAINDER)

    def handle(self, *, words: list[str], **options: Any) -> None:
        """The same for `call_command("tako", "status")`, in this process."""
        if code := main(_words(words)):
            raise CommandError(f"tako-lite ended with exit code {code}", returncode=code)


def _words(words: list[str]) -> list[str]:
    """The command line with the project of the settings, unless it names one itself."""
    config = project_of_settings()
    named = config is None or any(word in ("-c", "--config") or word.startswith("--config=") for word in words)
    return words if named else ["-c", str(config), *words]
