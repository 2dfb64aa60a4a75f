"""The entry point of `tako-lite`: runs a command line and turns errors into exit codes.

Click is imported only if it is needed: it takes half of the start-up time. Scripts call the plain `enqueue` in a loop, and
health checks come every few seconds.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

BROKEN_PIPE: Final = 141
"""The exit code that a shell reports for a program that died of SIGPIPE."""


_HEALTH: Final = (["health"], ["health", "--ready"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors are printed, never raised."""
    if sys.platform == "win32":
        print("error: tako-lite does not run on Windows; use it on Linux, or in WSL", file=sys.stderr)  # noqa: T201
        return 1
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return run_to_exit_code(partial(_interpret, words), as_json="--json" in words)
    finally:
        if arguments is None:
            gc.freeze()  # the process ends, so a last collection over all imported modules would only cost time


def run_to_exit_code(action: Callable[[], int], *, as_json: bool) -> int:
    """Call a function and return the exit code; errors are printed, never raised."""
    try:
        _make_streams_lenient()
        code = action()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        from tako_lite.cli.failures import report

        return report(error, as_json=as_json)
    return code


def _interpret(words: list[str]) -> int:
    return _run_plain(words) if _is_plain(words) else _run(words or ["--help"])


def _make_streams_lenient() -> None:
    """Let output that the terminal cannot encode appear escaped instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_plain(words: list[str]) -> bool:
    """Whether the command line is `enqueue WORKFLOW [PAYLOAD]...` or `health [--ready]`, which need no parsing."""
    if "_TAKO_LITE_COMPLETE" in os.environ:
        return False
    if words in _HEALTH:
        return True
    return words[:1] == ["enqueue"] and len(words) > 1 and not any(word.startswith("-") for word in words)


def _run_plain(words: list[str]) -> int:
    if words in _HEALTH:
        from tako_lite.cli.health import health

        return health(ready=words != ["health"])
    return _enqueue(*words[1:])


def _enqueue(workflow: str, *payload: str) -> int:
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

    if instruction := os.environ.get("_TAKO_LITE_COMPLETE"):
        from tako_lite.cli.completion import answer_shell

        return answer_shell(app, instruction)
    try:
        with app.make_context("tako-lite", words) as context:
            code = app.invoke(context)
            if notes := context.meta.get(NOTES):
                _print_notes(notes)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return code if isinstance(code, int) else 0


def _print_notes(notes: Iterable[str]) -> None:
    from tako_lite.cli.output import note

    for text in notes:
        note(text)


def _discard_stdout() -> None:
    """Point stdout at /dev/null, since Python flushes it once more at exit and would print an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
