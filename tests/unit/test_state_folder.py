"""`state_dir` of tako.toml, as clients read it: without the rest of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako_lite.client.project import Project
from tako_lite.config import load
from tako_lite.config.state_folder import state_folder
from tako_lite.errors import ConfigError

PLACES = {
    'state_dir = "var"': "var",
    'state_dir = "/var/lib/my shop"': "/var/lib/my shop",
    'name = "a"\nstate_dir = "../shared/./state"': "../shared/state",
    '  "state_dir"="var" # here\r\n[workflows]\r\nworkers = 1': "var",
    '\ufeffstate_dir = "var"': "var",
    'fallback_of = """\n[workflows]\n"""\nstate_dir = "var"': "var",
    '[workflows.env]\nstate_dir = "elsewhere"': ".tako",
    '# state_dir = "var"': ".tako",
    "": ".tako",
}


@pytest.mark.parametrize("text", PLACES)
def test_a_client_and_the_daemon_find_the_same_state_folder(text: str, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    file = root / "tako.toml"
    file.write_bytes(text.encode())
    expected = Path(root, PLACES[text].replace("../", f"{tmp_path}/"))
    assert state_folder(file, root) == expected
    if "fallback_of" not in text:
        settings = load(file)
        assert settings.state_dir == expected
        assert settings.queue.location.address == str(expected / "queue.db")
        assert Project(file).state_dir == expected


def test_a_mistake_in_a_table_does_not_keep_a_client_from_its_daemon(tmp_path: Path) -> None:
    file = tmp_path / "tako.toml"
    file.write_text('state_dir = "var"\n[workflows]\nworkers = = 1\n')
    assert state_folder(file, tmp_path) == tmp_path / "var"


def test_the_url_of_the_queue_may_name_another_folder(tmp_path: Path) -> None:
    (tmp_path / "tako.toml").write_text('state_dir = "var"\n[queue]\nurl = "sqlite:///data/queue.db"\n')
    settings = load(tmp_path)
    assert (settings.state_dir, settings.queue.location.address) == (tmp_path / "var", str(tmp_path / "data/queue.db"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", "must be text"),
        ('""', "must not be empty"),
        ('"."', "must be a folder of its own"),
        ('"../.."', "must be a folder of its own"),
        ('"a?b"', "must not contain `?` or `#`"),
        ('"workflows"', "must not contain the folder of the workflow files"),
        ('"~nobody-has-this-name/x"', "the home folder for `~` is unknown"),
    ],
)
def test_a_state_folder_that_is_not_possible_is_a_mistake_with_its_position(value: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tako.toml").write_text(f"state_dir = {value}\n")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path)
    assert [(found.line, found.column) for found in raised.value.mistakes] == [(1, 13)]
    assert message in raised.value.mistakes[0].message
