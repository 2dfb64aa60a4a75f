"""Reads `[secrets]` of tako.toml, and the secrets that each group receives."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from tako_lite.config import values
from tako_lite.config.collector import Collector
from tako_lite.config.settings import Config, Tables
from tako_lite.config.values import Reader, shown_name
from tako_lite.errors import BadInput, Mistake, SecretError
from tako_lite.hints import did_you_mean
from tako_lite.names import NAME, NAME_HINT
from tako_lite.secrets import SecretSource, read

TABLE: Final = "secrets"


def read_sources(collector: Collector, declared: Any, root: Path) -> dict[str, SecretSource]:
    """Read the sources in `[secrets]`, by name. Mistakes do not show the value: it may be the secret itself."""
    read_source = values.secret_source(root)
    sources = {}
    for name, value in collector.table((TABLE,), declared).items():
        before = len(collector.mistakes)
        if not NAME.fullmatch(name):
            collector.wrong((TABLE, name), f"{shown_name(name)} is not a name for a secret", NAME_HINT, at_key=True)
        else:
            sources[name] = collector.value((TABLE,), {name: value}, name, read_source)
        collector.mistakes[before:] = [collector.without_value((TABLE, name), found) for found in collector.mistakes[before:]]
    return {name: source for name, source in sources.items() if source is not None}


def named_secret(declared: Collection[str]) -> Reader:
    """Accepts the name of a secret that `[secrets]` defines."""

    def read_name(value: Any) -> str:
        if values.name(value) not in declared:
            hint = did_you_mean(value, declared) or f'add its source there: {value} = "env:NAME" or "file:PATH"'
            raise BadInput(f"there is no {shown_name(value)} in [secrets]", hint=hint)
        return str(value)

    return read_name


def passed_variable(sources: Mapping[str, SecretSource]) -> Reader:
    """Accepts the name of an environment variable that is not the source of a secret, or a pattern of names."""
    secrets = {source.place: name for name, source in sources.items() if source.kind == "env"}

    def read_variable(value: Any) -> str:
        variable = values.passed_variable(value)
        if variable in secrets:
            raise BadInput(
                f"{variable} is the source of the secret `{secrets[variable]}`, so it is not passed to any worker",
                hint=f'in a group that needs it, write secrets = ["{secrets[variable]}"]',
            )
        return variable

    return read_variable


def spare_secrets(collector: Collector, sources: Mapping[str, SecretSource], tables: Tables) -> tuple[Mistake, ...]:
    """A warning for each secret that no group receives."""
    given = {name for table in tables.values() for name in table.get(TABLE, ())}
    return tuple(
        collector.document.mistake(
            (TABLE, name),
            f"no group receives the secret `{name}`",
            f'in a group that needs it, write secrets = ["{name}"]',
            at_key=True,
        )
        for name in sources
        if name not in given and collector.document is not None
    )


def unreadable_secrets(config: Config) -> tuple[Mistake, ...]:
    """A warning for each secret whose source this process cannot read.

    The daemon has its own environment and may run as another user, so this is not a mistake in the file.
    """
    found = []
    for name, source in config.secrets.items():
        try:
            read(name, source, os.environ)
        except SecretError as error:
            hint = "it must be set where `tako-lite serve` is started" if source.kind == "env" else None
            if config.document is not None:
                found.append(config.document.mistake((TABLE, name), error.message, hint))
    return tuple(found)
