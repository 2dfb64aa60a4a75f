"""Edits of tako.toml: whole files before and after, so that nothing else changes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tako_lite.config.toml_edit import UNSET, with_setting, with_table, without_table

MEDIA = ("workflows", "media")
FILE = """\
# the shop
name = "shop"   # short

[workflows]
concurrency = 5     # each

# pictures
[workflows.media] # slow
workers = 2   # two

  # more may help
max_workers = 4
allowed_tenants = [
  "acme", # first
]
# end of media

# mails
[workflows.email]
workers = 1

[servers.lax.workflows.media]
workers = 9

# who pays
[tenants.acme]
"""


def changed(text: str, *settings: tuple[str, Any]) -> str:
    text = with_table(text, MEDIA)
    for key, value in settings:
        text = with_setting(text, MEDIA, tuple(key.split(".")), value)
    return text


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("workers", 3, "workers = 2   # two", "workers = 3   # two"),
        ("idle_timeout", "9m", "# end of media\n", '# end of media\nidle_timeout = "9m"\n'),
        ("env.A", "1", "# end of media\n", '# end of media\nenv = {A = "1"}\n'),
        ("max_workers", UNSET, "max_workers = 4\n", ""),
        ("nice", UNSET, "", ""),
        ("allowed_tenants", ["b"], '[\n  "acme", # first\n]', '["b"]'),
    ],
)
def test_a_setting_changes_its_own_line_and_no_other(key: str, value: Any, old: str, new: str) -> None:
    assert changed(FILE, (key, value)) == FILE.replace(old, new, 1)


def test_a_new_table_stands_behind_the_last_of_its_kind() -> None:
    after = with_setting(with_table(FILE, ("workflows", "a.b")), ("workflows", "a.b"), ("workers",), 1)

    assert after == FILE.replace(
        "[servers.lax.workflows.media]", '[workflows."a.b"]\nworkers = 1\n\n[servers.lax.workflows.media]'
    )


def test_a_table_goes_with_the_remarks_directly_above_it_and_leaves_those_of_its_neighbours() -> None:
    start, end = FILE.index("# pictures"), FILE.index("# mails")

    assert without_table(FILE, MEDIA) == FILE[:start] + FILE[end:]
    assert without_table(FILE, ("servers", "lax", "workflows", "media")) == FILE.replace(
        "[servers.lax.workflows.media]\nworkers = 9\n\n", ""
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[workflows.media]\nworkers = 3\n"),
        ("# only a remark", "# only a remark\n\n[workflows.media]\nworkers = 3\n"),
        ("[workflows.media]", "[workflows.media]\nworkers = 3\n"),
        ("[workflows]\nmedia = { workers = 2 }\n", "[workflows]\nmedia = { workers = 3 }\n"),
        ("[workflows]\nmedia.workers = 2\n\n# q\n[queue]\n", "[workflows]\nmedia.workers = 3\n\n# q\n[queue]\n"),
        ("workflows.media.workers = 2\n", "workflows.media.workers = 3\n"),
        ("workflows = { email = { nice = 1 } }\n", "workflows = { email = { nice = 1 }, media = {workers = 3}}\n"),
        ('[workflows.media.env]\nA = "1"\n', '[workflows.media]\nworkers = 3\n\n[workflows.media.env]\nA = "1"\n'),
        ('[[defaults]]\nmatch = "a"\n', '[[defaults]]\nmatch = "a"\n\n[workflows.media]\nworkers = 3\n'),
        (
            "[workflows.a]\n[workflows.media]\n[workflows.b]\n",
            "[workflows.a]\n[workflows.media]\nworkers = 3\n[workflows.b]\n",
        ),
        ('x = """\n[workflows.media]\n"""\n', 'x = """\n[workflows.media]\n"""\n\n[workflows.media]\nworkers = 3\n'),
    ],
)
def test_every_way_to_write_a_table_can_be_edited(before: str, after: str) -> None:
    assert changed(before, ("workers", 3)) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[workflows.media]\nworkers = 2\n", ""),
        ("# the file\n[workflows.media]\nworkers = 2\n\n# q\n[queue]\n", "# the file\n\n# q\n[queue]\n"),
        ("[queue]\n\n[workflows.media]\nworkers = 2\n\n\n", "[queue]\n"),
        ('[workflows.media]\n# own\n[workflows.media.env]\nA = "1"\n\n[queue]\n', "[queue]\n"),
        ("[workflows]\nmedia = { workers = 2 } # gone\nemail = {}\n", "[workflows]\nemail = {}\n"),
        ("[workflows]\nmedia.workers = 2\nemail.workers = 1\n", "[workflows]\nemail.workers = 1\n"),
        ("[workflows.media]\n\n# loose\n\n# about\n[queue]\n", "# loose\n\n# about\n[queue]\n"),
    ],
)
def test_every_way_to_write_a_table_can_be_taken_out(before: str, after: str) -> None:
    rest = without_table(before, MEDIA)

    assert "media" not in tomllib.loads(rest).get("workflows", {})
    assert rest == after
