"""The hash of the code of a workflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tako_lite.catalog import scan
from tako_lite.catalog.code import CodeHashes

FILES = {
    "workflows/order.py": """
from tako_lite import workflow
from shop import prices
from .common import names

@workflow("order")
async def order(payload):
    from shop.late import rate

@workflow("refund")
async def refund(payload):
    pass
""",
    "workflows/other.py": 'import json\nfrom tako_lite import workflow\n\n@workflow("other")\ndef other():\n    pass\n',
    "workflows/common/__init__.py": "",
    "workflows/common/names.py": "A = 1\n",
    "shop/__init__.py": "",
    "shop/prices.py": "import shop.taxes\n",
    "shop/taxes.py": "from . import prices  # a cycle\n",
    "shop/late.py": "rate = 1\n",
    "shop/unused.py": "",
}


def project(root: Path) -> Path:
    for name, source in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return root


def hashes(root: Path, known: CodeHashes | None = None) -> dict[str, str]:
    folder = root / "workflows"
    return (known or CodeHashes()).of(scan(folder, root), folder)


def test_the_workflows_of_a_file_have_one_hash_which_the_folder_of_the_release_does_not_change(tmp_path: Path) -> None:
    first = hashes(project(tmp_path / "one"))
    assert first == hashes(project(tmp_path / "two"))
    assert first["order"] == first["refund"] != first["other"]


@pytest.mark.parametrize(
    "name",
    ["workflows/order.py", "workflows/common/names.py", "shop/prices.py", "shop/taxes.py", "shop/late.py", "shop/__init__.py"],
)
def test_a_change_of_the_file_or_of_what_it_imports_changes_the_hash_of_its_workflows_alone(tmp_path: Path, name: str) -> None:
    known = CodeHashes()
    before = hashes(project(tmp_path), known)
    (tmp_path / name).write_text(FILES[name] + "# changed\n")
    after = hashes(tmp_path, known)
    assert after["order"] != before["order"]
    assert after["other"] == before["other"]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "shop/unused.py").write_text("B = 2\n"),
        lambda root: (root / "shop/prices.py").touch(),
        lambda root: (root / "workflows/new.py").write_text("C = 3\n"),
    ],
)
def test_files_that_a_workflow_does_not_import_and_new_stamps_change_no_hash(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    known = CodeHashes()
    before = hashes(project(tmp_path), known)
    change(tmp_path)
    assert hashes(tmp_path, known) == before


def test_a_helper_that_cannot_be_parsed_or_read_still_has_a_content(tmp_path: Path) -> None:
    before = hashes(project(tmp_path))
    (tmp_path / "shop/late.py").write_text("def broken(:\n")
    broken = hashes(tmp_path)
    (tmp_path / "shop/late.py").unlink()
    assert len({before["order"], broken["order"], hashes(tmp_path)["order"]}) == 3
