"""How an error reaches the person, or the program, that typed the command."""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import click

from tako_lite.errors import BadInput, TakoError
from tako_lite.records import SCHEMA
from tako_lite.wire import printable

INTERRUPTED: Final = 130


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell an error on stderr, as two lines or as JSON, and return the exit code."""
    failure, code = _as_failure(error)
    try:
        if as_json:
            click.echo(json.dumps({"schema": SCHEMA, "error": failure.as_json()}), err=True)
        else:
            click.echo(f"error: {printable(failure.message)}", err=True)
            if failure.hint:
                click.echo(f"hint: {printable(failure.hint)}", err=True)
    except OSError:  # nobody reads stderr: the exit code is all that is left to say
        pass
    return code


def _as_failure(error: BaseException) -> tuple[TakoError, int]:
    if isinstance(error, TakoError):
        return error, error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return TakoError("interrupted", type="interrupted"), INTERRUPTED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "tako-lite"
        return BadInput(error.format_message(), hint=f"`{command} --help` shows what can be given"), BadInput.exit_code
    if isinstance(error, click.ClickException):
        return TakoError(error.format_message()), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return TakoError(f"{name}{error.strerror}", type="os_error"), TakoError.exit_code
    return _as_bug(error), TakoError.exit_code


def _as_bug(error: BaseException) -> TakoError:
    if os.environ.get("TAKO_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    message = f"tako-lite itself failed: {type(error).__name__}: {error}"
    return TakoError(message, hint="TAKO_DEBUG=1 shows where", type="internal")
