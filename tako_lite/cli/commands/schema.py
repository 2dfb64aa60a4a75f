"""`schema`: the JSON Schema of tako.toml, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tako_lite.cli.options import command
from tako_lite.cli.output import note


@command
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of tako.toml, for editors.

    An editor with taplo or tombi uses it if tako.toml begins with `#:schema ./tako.schema.json`.
    """
    from tako_lite.config.schema import schema as make_schema

    text = json.dumps(make_schema(), indent=2)
    if output is None:
        click.echo(text)
        return
    output.write_text(f"{text}\n", encoding="utf-8")
    note(f"wrote {output}; begin tako.toml with: #:schema ./{output.name}")
