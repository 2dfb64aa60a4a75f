"""`copy-queue` and `migrate`: where a queue is, and the shape of its tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from tako_lite.cli.options import chosen_config, command, json_option, server_option
from tako_lite.cli.output import console, json_text, warn, write, write_json
from tako_lite.config.files import FILE_NAME
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.config import Config
    from tako_lite.config.values import Reader
    from tako_lite.store.copying import Copied, Progress
    from tako_lite.store.opening import Queue

OF_DATABASES: Final = ("schema", "password", "listen_url", "lease")
"""The keys of `[queue]` that only a database has."""


@command
@server_option
@click.option("--to", "url", required=True, metavar="URL", help="postgresql://USER@HOST/DATABASE, or sqlite:///FILE.")
@click.option("--schema", metavar="NAME", help="The schema of the copy in the database.  [default: tako]")
@click.option(
    "--password", metavar="SOURCE", help="Where the password is: env:NAME or file:PATH.  [default: PGPASSWORD, ~/.pgpass]"
)
@json_option
def copy_queue(server: str | None, url: str, schema: str | None, password: str | None, as_json: bool) -> None:
    """Copy the whole queue into PostgreSQL, or back into a file.

    The target must be empty. It also copies between two databases.

    The daemon must be stopped. The copy has everything: runs in every state with their steps and history, waits, signals,
    schedules, triggers and limits. It is compared with the queue before it is committed; the queue itself is not changed. At
    the end, the lines of tako.toml to change are printed.
    """
    from tako_lite.cli.exclusive import exclusive, unserved
    from tako_lite.client.project import Project
    from tako_lite.config import load
    from tako_lite.store.copying import TABLES, copy, refuse_served

    config = load(chosen_config(), server=server)
    source = config.queue.location
    settings = {key: value for key, value in (("url", url), ("schema", schema), ("password", password)) if value is not None}
    target = _target(config, settings, source)
    with (
        exclusive(Project(chosen_config()), source, "the copy"),
        unserved(target),
        source.open_source() as left,
        target.open_target() as right,
    ):
        refuse_served(left, right)
        with _progress(sum(map(left.count, TABLES))) as progress:
            done = copy(left, right, progress)
    if as_json:
        write_json({"from": str(source), "to": str(target), **done._asdict(), "settings": settings})
    else:
        _print(done, config, target, settings)


@command
@server_option
@click.option("--sql", "as_sql", is_flag=True, help="Only print the SQL, with the roles and their rights.")
@json_option
def migrate(server: str | None, as_sql: bool, as_json: bool) -> None:
    """Create the tables of the queue, or bring them up to date; does nothing if they are.

    `serve` and `enqueue` do it by themselves where they may. With --sql, nothing is changed: the administrator of a database
    runs what is printed, such as with `tako-lite migrate --sql | psql`.
    """
    from tako_lite.config import load

    queue = load(chosen_config(), server=server).queue.location
    if as_sql:
        script = queue.migration_script()
        if as_json:
            write_json({"sql": script})
        else:
            click.echo(script, nl=False)
        return
    done = queue.migrate()
    if as_json:
        write_json({"queue": str(queue), **done._asdict()})
    elif not done.applied:
        write(f"{queue} is up to date: version {done.after}")
    else:
        did = f"brought {queue} from version {done.before} to {done.after}" if done.before else f"created {queue}"
        write(f"{did}: {', '.join(done.applied)}")


def _target(config: Config, settings: dict[str, str], source: Queue) -> Queue:
    from tako_lite.config import values
    from tako_lite.errors import BadInput
    from tako_lite.store.opening import SQLITE, queue_at

    if settings["url"].startswith(SQLITE) and len(settings) > 1:
        raise click.UsageError("--schema and --password are for a queue in PostgreSQL")
    readers = {"schema": values.schema, "password": values.secret_source(config.root)}
    read = {key: _read(f"--{key}", reader, settings[key]) for key, reader in readers.items() if key in settings}
    target: Queue = _read("--to", lambda url: queue_at(url, config.root, state_dir=config.state_dir, **read), settings["url"])
    if target.address == source.address:
        raise BadInput(f"{target} is the queue itself", hint="--to names the queue into which it is copied")
    return target


def _read(option: str, reader: Reader, value: str) -> Any:
    """What an option means. Raises BadInput, which names the option."""
    from tako_lite.errors import BadInput

    try:
        return reader(value)
    except BadInput as error:
        hint = error.hint if "password" not in error.message else "--password env:NAME or file:PATH, or set PGPASSWORD"
        raise BadInput(f"{option} {error.message}", hint=hint) from None


@contextmanager
def _progress(rows: int) -> Iterator[Progress]:
    """A progress bar on stderr, if that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda rows: None
        return
    from tako_lite.tui.bar import RunBar

    with RunBar(console(stderr=True), rows, "copying rows") as bar:
        yield bar.add


def _print(done: Copied, config: Config, target: Queue, settings: dict[str, str]) -> None:
    states = ", ".join(f"{number:,} {state}" for state, number in done.runs.items())
    others = ", ".join(f"{table} {rows:,}" for table, rows in done.rows.items() if rows and table != "runs")
    write(f"copied {counted(done.rows['runs'], 'run')} to {target}" + (f": {states}" if states else ""))
    if others:
        write(f"and with them, in rows: {others}")
    write("both queues were counted, and have the same number of rows in every table")
    if done.replaced:
        warn(f"{counted(done.replaced, 'text')} had a NUL character, which PostgreSQL cannot hold; each is U+FFFD now")
    write(f"now write this into {config.file or config.root / FILE_NAME}, and start the daemon: tako-lite serve")
    write("[queue]")
    for key, value in settings.items():
        write(f"{key} = {json_text(value)}")
    if unused := [key for key in OF_DATABASES if key not in settings and _is_set(config, key)]:
        write(f"# and remove the old one's {', '.join(unused)}")
    write(f"what is enqueued before that goes to {config.queue.location}, which is unchanged")


def _is_set(config: Config, key: str) -> bool:
    return config.document is not None and key in config.document.tables.get("queue", {})
