"""What the program never imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tako_lite

UNSAFE = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "joblib"}
"""Whoever reads what these wrote runs what it says."""
OF_INTEGRATIONS = {"django", "django_tasks", "fastapi", "flask", "litestar", "opentelemetry", "sentry_sdk", "sqlalchemy"}
SOURCE = """
import os, a.b
if x:
    from c.d import e
def f():
    import g as h
    from . import own
    __import__('i')
    importlib.import_module('j.k')
"""


def imported(source: str) -> set[str]:
    """The top-level modules that a source imports, wherever it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]) if (
                name in ("__import__", "import_module")
            ):
                found.add(module)
    return {name.partition(".")[0] for name in found}


def test_imports_are_found_wherever_they_are() -> None:
    assert imported(SOURCE) == {"os", "a", "c", "g", "i", "j"}


def test_nothing_is_pickled_anywhere() -> None:
    files = list(Path(tako_lite.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert {file.name: found for file in files if (found := imported(file.read_text(encoding="utf-8")) & UNSAFE)} == {}


def test_nothing_but_the_integrations_imports_their_packages() -> None:
    folder = Path(tako_lite.__file__).parent
    files = {file for file in folder.rglob("*.py") if "ext" not in file.relative_to(folder).parts}
    found = {file.name: imported(file.read_text(encoding="utf-8")) & OF_INTEGRATIONS for file in files}
    assert {file: packages for file, packages in found.items() if packages} == {}


def test_the_package_of_the_integrations_needs_none_of_their_packages() -> None:
    missing = f"import sys; sys.modules.update(dict.fromkeys({sorted(OF_INTEGRATIONS)!r}))"
    subprocess.run([sys.executable, "-c", f"{missing}; import tako_lite.ext, tako_lite"], check=True)


def test_no_core_module_imports_an_integration() -> None:
    folder = Path(tako_lite.__file__).parent
    files = {file for file in folder.rglob("*.py") if "ext" not in file.relative_to(folder).parts}
    assert [file.name for file in files if "tako_lite.ext" in file.read_text(encoding="utf-8")] == []


def test_health_checks_import_little() -> None:
    script = "import sys, tako_lite.cli.main, tako_lite.cli.health, tako_lite.cli.project_notice; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    needless = {"click", "asyncio", "datetime", "tako_lite.records", "tako_lite.client.requests", "tako_lite.config.reader"}
    assert needless & set(done.stdout.split()) == set()
