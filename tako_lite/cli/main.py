"""`tako-lite`: what a command line becomes, and what becomes of its errors.

Click is imported where it is needed: it is half of the start of a process, and scripts call the plain `enqueue` in a loop.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

BROKEN_PIPE: Final = 141
"""What a shell reports of a program whose reader has gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are told, never raised."""
    if sys.platform == "win32":
        print("error: tako-lite does not run on Windows; use it on Linux, or in WSL", file=sys.stderr)  # noqa: T201
        return 1
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _make_streams_lenient()
        code = _enqueue(*words[1:]) if _is_plain_enqueue(words) else _run(words or ["--help"])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        from tako_lite.cli.failures import report

        return report(error, as_json="--json" in words)
    finally:
        if arguments is None:
            gc.freeze()  # the process ends: there is nothing to gain from looking through all that was imported
    return code


def _make_streams_lenient() -> None:
    """A terminal without UTF-8 must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_plain_enqueue(words: list[str]) -> bool:
    """Whether it is `enqueue WORKFLOW [PAYLOAD]` and no option, so that there is nothing to parse."""
    return words[:1] == ["enqueue"] and len(words) in (2, 3) and not any(word.startswith("-") for word in words)


def _enqueue(workflow: str, payload: str | None = None) -> int:
    from tako_lite.cli.enqueue_one import enqueue_one
    from tako_lite.cli.project_notice import note_project
    from tako_lite.client.blocking import Client

    note_project()
    with Client() as client:
        return enqueue_one(client, workflow, payload, {})


def _run(words: list[str]) -> int:
    import click

    from tako_lite.cli.app import app
    from tako_lite.cli.options import NOTES

    try:
        with app.make_context("tako-lite", words) as context:
            code = app.invoke(context)
            if notes := context.meta.get(NOTES):
                _say(notes)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return code if isinstance(code, int) else 0


def _say(notes: Iterable[str]) -> None:
    from tako_lite.cli.output import note

    for text in notes:
        note(text)


def _give_up_stdout() -> None:
    """Python flushes stdout once more at its exit, and would complain there."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
