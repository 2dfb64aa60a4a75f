"""Settings as they are typed on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tako_lite.config.assignments import assignment, group_name
from tako_lite.config.reader import ENTRIES, setting_readers
from tako_lite.config.settings import SETTINGS
from tako_lite.config.toml_edit import UNSET
from tako_lite.errors import BadInput


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("workers=2", ("workers",), 2),
        ("nice=-5", ("nice",), -5),
        ("idle_timeout=1h30m", ("idle_timeout",), "1h30m"),
        ("max_memory=512MB", ("max_memory",), "512MB"),
        ("description=7", ("description",), "7"),
        ("description=a = b", ("description",), "a = b"),
        ("allowed_tenants=acme, globex", ("allowed_tenants",), ["acme", "globex"]),
        ('allowed_tenants=["acme"]', ("allowed_tenants",), ["acme"]),
        ("allowed_tenants=[]", ("allowed_tenants",), []),
        ("env_pass=A,B", ("env_pass",), ["A", "B"]),
        ("env.PORT=80", ("env", "PORT"), "80"),
        ("limits.nofile=1024", ("limits", "nofile"), 1024),
        ("limits.as=2GiB", ("limits", "as"), "2GiB"),
        ("workers=", ("workers",), UNSET),
        ("env=", ("env",), UNSET),
        ("env.A=", ("env", "A"), UNSET),
    ],
)
def test_a_word_becomes_the_value_that_the_setting_takes(word: str, path: tuple[str, ...], value: Any) -> None:
    assert assignment(word, Path("/")) == (path, value)


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("wrokers=2", "no setting `wrokers`", "`workers`"),
        ("name=x", "no setting `name`", "settings: workers"),
        ("workers", "is not KEY=VALUE", "KEY= to remove"),
        ("workers=-1", "from 0 to 1,000", ""),
        ("workers=many", "a whole number", ""),
        ("idle_timeout=300", "duration", '"300s"'),
        ("fallback=wiat", "must be", "`wait`"),
        ("env=x", "env is a table", "env.NAME=VALUE"),
        ("env.1A=x", "not the name of an environment variable", ""),
        ("limits.nofiles=3", "not a resource limit", "`nofile`"),
        ("allowed_tenants=a b", "is not a name", ""),
        ("allowed_tenants=[a", "is not an array", "acme,globex"),
        ("env_pass=1", "not the name of an environment variable", ""),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused_with_what_to_type(word: str, message: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        assignment(word, Path("/"))

    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_every_setting_can_be_typed() -> None:
    assert set(SETTINGS) == {*setting_readers(Path("/")), *ENTRIES, "env_pass", "secrets"}


@pytest.mark.parametrize("name", ["workers", "env", "path", "a b", "", "-x", "x" * 129])
def test_a_name_that_no_group_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        group_name(name)
