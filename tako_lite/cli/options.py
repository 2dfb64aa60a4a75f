"""Options and argument types that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from tako_lite.clock import EARLIEST_MS, SystemClock, milliseconds
from tako_lite.errors import BadInput
from tako_lite.hints import did_you_mean
from tako_lite.states import HAS, RUN_STATES
from tako_lite.units import parse_duration

HELP_NAMES: Final = ["-h", "--help"]
SHORTEST_ENDING: Final = 4
NOTES: Final = "tako_lite.notes"
"""The key in a command's context for notes that are printed to stderr once it has succeeded."""
_NOTED: Final = "tako_lite.project_noted"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _remember_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    if path is not None:
        context.find_root().obj = path


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(),
    metavar="PATH",
    expose_value=False,
    callback=_remember_config,
    help="Path of tako.toml or its folder  [default: TAKO_CONFIG, else the nearest in this folder and above]",
)


def _or_parents(context: click.Context, parameter: click.Parameter, as_json: bool) -> bool:
    """Whether `--json` was given to this command or its parent."""
    return as_json or bool(context.parent and context.parent.params.get("as_json"))


json_option = click.option("--json", "as_json", is_flag=True, callback=_or_parents, help="Print JSON only.")


def wants_json() -> bool:
    """Whether the command prints only JSON, on stderr too."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("as_json"))


def note_beside_answer(text: str) -> None:
    """Print a note to stderr; with `--json`, delay it until the command has succeeded, so that an error is printed alone."""
    from tako_lite.cli.output import note

    if wants_json():
        click.get_current_context().meta.setdefault(NOTES, {})[text] = None
    else:
        note(text)


def given_config() -> str | None:
    """The path of `--config`, from any place on the command line."""
    path: str | None = click.get_current_context().find_root().obj
    return path


def chosen_config() -> str | None:
    """The path of `--config`, from any place on the command line; without it, stderr may note which folder is the project."""
    root = click.get_current_context().find_root()
    path: str | None = root.obj
    if path is None and not root.meta.setdefault(_NOTED, False) and not wants_json():
        from tako_lite.cli.project_notice import note_project  # `--help` must not import what reads a project

        root.meta[_NOTED] = True
        note_project()
    return path


def command(function: Callable[..., Any]) -> click.Command:
    """Make a click command of a function; it also takes `--config`, and shells complete the names of the project."""
    made = click.command(context_settings={"help_option_names": HELP_NAMES})(config_option(function))
    for parameter in made.params:
        parameter._custom_shell_complete = _complete  # what `shell_complete=` of each argument and option would set
    return made


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from tako_lite.cli.completion import complete, completes  # only when a shell asks

    return (
        complete(context, parameter, incomplete)
        if completes(parameter)
        else (parameter.type.shell_complete(context, parameter, incomplete))
    )


def duration(text: str) -> float:
    """Seconds from a duration with a unit."""
    try:
        return parse_duration(text)
    except BadInput as error:
        raise click.BadParameter("; ".join(filter(None, (error.message, error.hint)))) from None


def time(text: str) -> datetime:
    """An ISO-8601 time; without a time zone, in that of this machine."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
        milliseconds(moment)
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"{text!r} is not a time such as 2030-01-31T08:30 or 2030-01-31T08:30:00Z") from None
    except BadInput as error:
        raise click.BadParameter(f"{text!r}: {error.message}") from None
    return moment


def since(text: str) -> int:
    """Milliseconds since 1970 from a time, or from how long ago it was."""
    try:
        return max(EARLIEST_MS, SystemClock().now() - round(parse_duration(text) * 1000))
    except BadInput:
        return milliseconds(time(text))


def run_ending(text: str) -> str:
    """A run's id, or enough of its last characters to identify it."""
    if len(text) < SHORTEST_ENDING:
        raise click.BadParameter(f"{text!r} is too short: give at least the last {SHORTEST_ENDING} characters of an id")
    return text.lower()


class StateChoice(click.Choice[str]):
    """A run state; the error suggests our word for a state of another program."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        if value not in self.choices and (hint := did_you_mean(str(value), self.choices)):
            self.fail(f"{value!r} is not one of {', '.join(self.choices)}; {hint}", parameter, context)
        return super().convert(value, parameter, context)


def filter_options(states: Sequence[str] = RUN_STATES) -> Callable[[Decorated], Decorated]:
    """The options that choose runs; `--state` takes one of `states`."""
    options = (
        click.option("--workflow", metavar="NAME", help="Only runs of this workflow."),
        click.option("--group", metavar="NAME", help="Only runs of this group."),
        click.option(
            "--state", "states", multiple=True, type=StateChoice(states), help="Only runs in this state; may be repeated."
        ),
        click.option(
            "--since",
            type=since,
            metavar="TIME|DURATION",
            help="Only runs created since a time, or within a duration such as 2h.",
        ),
        click.option("--until", type=since, metavar="TIME|DURATION", help="Only runs created before a time, or that long ago."),
        click.option("--ended-since", type=since, metavar="TIME|DURATION", help="Only runs that ended since a time."),
        click.option("--tenant", metavar="NAME", help="Only runs of this tenant."),
        click.option("--unique-key", metavar="KEY", help="Only runs with this unique key."),
        click.option("--parent", metavar="RUN", type=run_ending, help="Only runs that this run started."),
        click.option("--reason", metavar="WORD", help="Only runs whose error has this reason, such as timeout."),
        click.option("--fingerprint", metavar="HEX", help="Only runs that failed with this error; `show` prints it."),
        click.option("--step", metavar="NAME", help="Only runs with a step or a wait of this name."),
        click.option(
            "--has", multiple=True, type=click.Choice(HAS), help="Only runs with any, such as retries; may be repeated."
        ),
    )

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


note_option = click.option("--note", metavar="TEXT", help="Why; `activity` and the dashboard show it.")
server_option = click.option("--server", metavar="NAME", help="Name of this server  [default: TAKO_SERVER, else the host name]")


def without_none(**arguments: Any) -> dict[str, Any]:
    """The arguments that have a value: requests leave the others out."""
    return {name: value for name, value in arguments.items() if value is not None and value != ()}
