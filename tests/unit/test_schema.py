"""The JSON Schema of tako.toml says what `check` says, as far as one value tells it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from pathlib import Path

import fastjsonschema
import pytest

from tako_lite.config import examine_text
from tako_lite.config import schema as made
from tako_lite.config.monitor_settings import LogSettings, MonitorSettings
from tako_lite.config.queue_table import _KEYS as _QUEUE_KEYS
from tako_lite.config.reader import _PROJECT_KEYS, _SERVER_KEYS
from tako_lite.config.routes import _RULE
from tako_lite.config.settings import SETTINGS
from tako_lite.config.web_settings import WebSettings
from tako_lite.errors import ConfigError
from tests.support.project import command_in
from tests.support.toml_files import BAD, GOOD

VALIDATE = fastjsonschema.compile(made.schema())


def accepted_by_schema(text: str) -> bool:
    try:
        VALIDATE(tomllib.loads(text))
    except fastjsonschema.JsonSchemaException:
        return False
    return True


def accepted_by_check(text: str, folder: Path) -> bool:
    try:
        return not examine_text(text, folder / "tako.toml").mistakes
    except ConfigError:
        return False


@pytest.mark.parametrize("name", GOOD)
def test_what_check_accepts_the_schema_accepts(name: str, tmp_path: Path) -> None:
    assert accepted_by_check(GOOD[name], tmp_path)
    VALIDATE(tomllib.loads(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_what_check_refuses_the_schema_refuses(name: str, tmp_path: Path) -> None:
    assert not accepted_by_check(BAD[name], tmp_path)
    assert not accepted_by_schema(BAD[name])


def test_there_are_sixty_files() -> None:
    assert (len(GOOD), len(BAD)) == (30, 30)


def test_the_schema_has_every_key_that_the_reader_knows() -> None:
    whole = made.schema()["properties"]
    assert set(whole) == set(_PROJECT_KEYS)
    assert set(whole["servers"]["patternProperties"].popitem()[1]["properties"]) == set(_SERVER_KEYS)
    assert set(made.GROUP) == set(SETTINGS)
    assert set(whole["queue"]["properties"]) == set(_QUEUE_KEYS)
    assert set(made.WEB) == {field.name for field in fields(WebSettings)}
    assert set(made.MONITOR) == {field.name for field in fields(MonitorSettings)}
    assert set(made.LOGS) == {field.name for field in fields(LogSettings)}
    assert set(made.RULE) == set(_RULE)


def test_every_key_has_a_description() -> None:
    whole = made.schema()
    tables = [whole, whole["definitions"]["group"], *whole["properties"].values()]
    properties = [entry for table in tables for entry in table.get("properties", {}).items()]
    assert [key for key, entry in properties if not entry.get("description")] == []


def test_the_command_writes_the_schema_and_says_how_to_use_it(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    printed = command_in(tmp_path, "schema")
    written = command_in(tmp_path, "schema", "-o", "tako.schema.json")
    assert (printed.returncode, written.returncode) == (0, 0)
    assert "#:schema ./tako.schema.json" in written.stderr
    assert json.loads(printed.stdout) == json.loads((tmp_path / "tako.schema.json").read_text()) == made.schema()
