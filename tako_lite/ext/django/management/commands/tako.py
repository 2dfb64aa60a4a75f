"""`manage.py tako …`: the command line of tako-lite for the project that the settings name."""

from __future__ import annotations

from argparse import REMAINDER
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tako_lite.cli.main import main
from tako_lite.ext.django.project import project_of_settings
from tako_lite.ext.passthrough import become, words_for


class Command(BaseCommand):
    """Runs a command of tako-lite."""

    help = "Run a command of tako-lite, such as `manage.py tako status`; `manage.py tako --help` lists them."
    requires_system_checks: Any = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Become `tako-lite`, in a process without Django: a daemon should not carry it for its whole life."""
        become(words_for(project_of_settings(), argv[2:]))

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs=REMAINDER)

    def handle(self, *, words: list[str], **options: Any) -> None:
        """The same for `call_command("tako", "status")`, in this process."""
        if code := main(words_for(project_of_settings(), words)):
            raise CommandError(f"tako-lite ended with exit code {code}", returncode=code)
