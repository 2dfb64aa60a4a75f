"""Printing of errors, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Final

import click

from tako_lite.errors import BadInput, Interrupted, TakoError
from tako_lite.hints import OUR_WORDS, did_you_mean
from tako_lite.names import printable
from tako_lite.records import SCHEMA


def report(error: BaseException, *, as_json: bool) -> int:
    """Print an error to stderr, as text or as JSON, and return the exit code."""
    failure, code = _as_failure(error)
    try:
        if as_json:
            click.echo(json.dumps({"schema": SCHEMA, "error": failure.as_json()}), err=True)
        else:
            click.echo(f"error: {printable(failure.message)}", err=True)
            if failure.hint:
                click.echo(f"hint: {printable(failure.hint)}", err=True)
    except OSError:  # stderr is closed: only the exit code remains
        pass
    return code


def _as_failure(error: BaseException) -> tuple[TakoError, int]:
    if isinstance(error, TakoError):
        return error, error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Interrupted("interrupted"), Interrupted.exit_code
    if isinstance(error, click.UsageError):
        return BadInput(_message(error), hint=_hint(error)), BadInput.exit_code
    if isinstance(error, click.ClickException):
        return TakoError(error.format_message()), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return TakoError(f"{name}{error.strerror}", type="os_error"), TakoError.exit_code
    return _as_bug(error), TakoError.exit_code


def _message(error: click.UsageError) -> str:
    """The message of click, without the suggestions that `_hint` replaces."""
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name}"
    return _CLICK_WORDS.sub(lambda found: _OUR_WORDS[found[0]], error.format_message().removesuffix("."))


_OUR_WORDS: Final = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "No such command": "there is no command",
}
_CLICK_WORDS: Final = re.compile("|".join(map(re.escape, _OUR_WORDS)))


def _option_meant(error: click.NoSuchOption) -> str | None:
    """A hint with the nearest option of the same command, or with our word for another program's option."""
    known = [name for parameter in error.ctx.command.params for name in parameter.opts] if error.ctx else []
    ours = OUR_WORDS.get(error.option_name.lstrip("-").replace("-", "_"))
    return f"tako-lite calls it `--{ours}`" if f"--{ours}" in known else did_you_mean(error.option_name, known)


def _hint(error: click.UsageError) -> str:
    """What to type instead of arguments that click rejected."""
    if isinstance(error, click.NoSuchOption) and (meant := _option_meant(error)):
        return meant
    if error.ctx is None:
        return "`tako-lite --help` lists commands and options"
    command = error.ctx.command_path
    takes_payload = any(parameter.name == "payload" for parameter in error.ctx.command.params)
    if takes_payload and isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdecimal():
        return f"write -- before a payload that begins with a minus: `{command} … -- -5`"
    return f"`{command} --help` lists its arguments and options"


def _as_bug(error: BaseException) -> TakoError:
    if os.environ.get("TAKO_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    message = f"internal error in tako-lite: {type(error).__name__}: {error}"
    return TakoError(message, hint="TAKO_DEBUG=1 prints the traceback", type="internal")
