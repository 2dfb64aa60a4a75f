"""The environment of workers: a few variables of the daemon, and those that the settings of their group add."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from tako_lite.config import GroupSettings
from tako_lite.config.env_file import read_env_file
from tako_lite.config.values import PASSED, PASSED_FAMILIES
from tako_lite.secrets import SecretSource


def worker_environment(settings: GroupSettings, ours: Mapping[str, str], hidden: Collection[str] = ()) -> dict[str, str]:
    """The variables of a group's workers; those `hidden`, the sources of secrets, are not passed on.

    `env` wins over the daemon's environment, which wins over `env_file`. Raises ConfigError for a file that cannot be read.
    """
    file = {} if settings.env_file is None else read_env_file(Path(settings.env_file))
    passed = {name: value for name, value in ours.items() if name not in hidden and _is_passed(name, settings.env_pass)}
    return {**file, **passed, **settings.env}


def _is_passed(name: str, patterns: Collection[str]) -> bool:
    if name in PASSED or name.startswith(PASSED_FAMILIES) or name in patterns:
        return True
    return any("*" in pattern and fnmatchcase(name, pattern) for pattern in patterns)


def secret_variables(sources: Mapping[str, SecretSource]) -> dict[str, str]:
    """The variables of the daemon's environment that are the sources of secrets, each with the name of its secret."""
    return {source.place: name for name, source in sources.items() if source.kind == "env"}


def withheld(ours: Mapping[str, str], environment: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """The names of the daemon's variables that a worker does not get, each with the name of its secret or an empty text."""
    return {name: secrets.get(name, "") for name in ours if name not in environment}
