"""The files that pages load."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from tests.support.web import Dashboard

ASSETS = files("tako_lite.web") / "assets"
TEMPLATES = files("tako_lite.web") / "templates"


def test_vendored_files_are_what_their_packages_contain() -> None:
    table = (ASSETS / "VENDORED.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", table, re.MULTILINE)
    assert {name for name, _ in rows} == {"idiomorph.min.js", "uplot.iife.min.js", "uplot.min.css"}
    for name, expected in rows:
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == expected


@pytest.mark.parametrize(
    ("name", "limit"), [("tako.js", 14), ("tako.css", 14), ("keys.js", 5), ("charts.js", 5), ("run.css", 4), ("search.js", 1)]
)
def test_own_files_stay_small(name: str, limit: int) -> None:
    assert len((ASSETS / name).read_bytes()) < limit * 1024


def test_pages_load_nothing_from_other_hosts() -> None:
    own = [
        file for folder in (ASSETS, TEMPLATES) for file in folder.iterdir() if not file.name.startswith(("VENDORED", "uplot"))
    ]
    found = {file.name: re.findall(r"https?://[^\s\"']+", file.read_text(encoding="utf-8")) for file in own}
    allowed = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert {name: hosts for name, hosts in found.items() if set(hosts) - allowed} == {}


def test_templates_have_no_inline_code_and_never_turn_escaping_off() -> None:
    forbidden = re.compile(r"\|\s*safe|autoescape|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|<style|javascript:")
    found = {file.name: forbidden.findall(file.read_text(encoding="utf-8")) for file in TEMPLATES.iterdir()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_only_svg_makes_markup_from_text() -> None:
    sources = [file for folder in (files("tako_lite.web"), files("tako_lite.web") / "routes") for file in folder.iterdir()]
    found = [file.name for file in sources if file.name.endswith(".py") and "Markup(" in file.read_text(encoding="utf-8")]
    assert found == ["svg.py"]


def test_assets_are_kept_for_ever_under_the_hash_of_their_content(web: Dashboard) -> None:
    html = web.page("/")
    paths = re.findall(r'(?:src|href)="(/-/assets/[^"]+)"', html)
    assert len(paths) >= 4
    for path in paths:
        reply = web.get(path)
        assert reply.status_code == 200
        assert "immutable" in reply.headers["cache-control"]
    stale = re.sub(r"assets/[0-9a-f]+/", "assets/000000000000/", paths[0])
    assert web.get(stale).headers["cache-control"] == "no-store"
    assert web.get("/-/assets/0/../../application.py").status_code == 404
