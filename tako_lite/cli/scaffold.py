"""The files that `init` writes: from the templates in the package, and never over a file that exists."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

from tako_lite.config.schema import FILE as SCHEMA_FILE
from tako_lite.config.schema import schema
from tako_lite.names import NAME

TEMPLATES: Final = ("minimal", "web-fastapi", "web-django", "web-flask", "cron", "agent")
DEPLOYMENTS: Final = {
    "systemd": ("deploy-systemd",),
    "docker": ("deploy-docker",),
    "compose": ("deploy-docker", "deploy-compose"),
}
"""The templates for each way to deploy."""
SUFFIX: Final = ".in"
"""Of the templates, so that no tool takes them for source code."""
NEW: Final = "-new"
"""The templates with the application itself, for a folder that has none."""
_FRAMEWORKS: Final = {
    "web-fastapi": ("fastapi", "httpx", "uvicorn"),
    "web-django": ("django",),
    "web-flask": ("flask",),
}
"""What the templates need besides tako-lite."""
_FOR_TESTS: Final = ("httpx",)
_INSTALL: Final = {
    "requirements.txt": "pip install --no-cache-dir -r requirements.txt",
    "pyproject.toml": "pip install --no-cache-dir uv && uv pip install --system --no-cache -r pyproject.toml",
}
"""What installs the packages of a project in an image, without the project itself."""
_SETTINGS_MODULE: Final = re.compile(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
_DEPENDENCY: Final = re.compile(r"[A-Za-z0-9._-]+")


class File(NamedTuple):
    """A file to write, by its path in the project."""

    path: str
    text: str


def detect(folder: Path) -> str:
    """The template for a folder, by what is in it."""
    if (folder / "manage.py").is_file():
        return "web-django"
    needed = _dependencies(folder)
    return next((f"web-{name}" for name in ("fastapi", "flask", "django") if name in needed), "minimal")


def _dependencies(folder: Path) -> set[str]:
    """What pyproject.toml or requirements.txt name, in small letters."""
    lines: list[str] = []
    with suppress(OSError, ValueError, AttributeError):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        lines += project.get("dependencies", [])
    with suppress(OSError, ValueError):
        lines += (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {match[0].lower() for line in lines if isinstance(line, str) and (match := _DEPENDENCY.match(line.strip()))}


def project_name(folder: Path) -> str:
    """A name for the project of a folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")
    return name if NAME.fullmatch(name) else "app"


def files_of(template: str, folder: Path, name: str, *, agents: bool, deploy: str | None = None) -> list[File]:
    """The files of a template for a folder, with what it has already taken into account."""
    has_application = detect(folder) == template and template in _FRAMEWORKS
    folders = [template, *([f"{template}{NEW}"] if template in _FRAMEWORKS and not has_application else [])]
    folders += ["agents"] if agents else []
    folders += DEPLOYMENTS[deploy] if deploy is not None else ()
    folders += [] if (folder / "pyproject.toml").exists() else ["common"]
    needed = _FRAMEWORKS.get(template, ())
    has_requirements = (folder / "requirements.txt").exists() and not (folder / "pyproject.toml").exists()
    requirements = "requirements.txt" if has_requirements else "pyproject.toml"
    values = {
        "name": name,
        "image": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "app",
        "requirements": requirements,
        "install": _INSTALL[requirements],
        "settings_module": _settings_module(folder),
        "dependencies": _listed("tako-lite[web]", *(package for package in needed if package not in _FOR_TESTS)),
        "dev_dependencies": _listed("pytest", *(package for package in needed if package in _FOR_TESTS)),
    }
    found = [file for each in folders for file in _filled(each, values)]
    return [*sorted(found), File(SCHEMA_FILE, f"{json.dumps(schema(), indent=2)}\n")]


def demo_files() -> list[File]:
    """The files of the project that `demo` serves."""
    return list(_filled("demo", {}))


def _listed(*packages: str) -> str:
    return ", ".join(f'"{package}"' for package in packages)


def _settings_module(folder: Path) -> str:
    """The settings of the Django project in a folder; those of the template if it has none."""
    try:
        found = _SETTINGS_MODULE.search((folder / "manage.py").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    return found[1] if found else "config.settings"


def _filled(template: str, values: dict[str, str]) -> Iterator[File]:
    """The files of one folder of templates, with `{{name}}` and the like replaced."""
    for path, text in _walk(files("tako_lite") / "templates_init" / template, ""):
        for key, value in values.items():
            text = text.replace(f"{{{{{key}}}}}", value)
        yield File(path.removesuffix(SUFFIX), text)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield f"{prefix}{entry.name}", entry.read_text(encoding="utf-8")


class Written(NamedTuple):
    """The paths of the files that were written, those that existed and differ, and those that were written beside these."""

    made: list[str]
    kept: list[str]
    beside: list[str]


def write(folder: Path, wanted: list[File], *, force: bool) -> Written:
    """Write files; one that exists stays as it is, and with `force` the new text goes beside it as `NAME.tako-new`."""
    done = Written([], [], [])
    for file in wanted:
        target = folder / file.path
        if target.exists():
            if target.read_bytes() == file.text.encode():
                continue
            done.kept.append(file.path)
            if not force:
                continue
            target = target.with_name(f"{target.name}.tako-new")
            done.beside.append(f"{file.path}.tako-new")
        else:
            done.made.append(file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text, encoding="utf-8")
        if file.text.startswith("#!"):
            target.chmod(target.stat().st_mode | 0o111)
    return done


def ignore_state(folder: Path) -> bool:
    """Have git ignore the state folder; False if it does already."""
    file = folder / ".gitignore"
    before = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if any(line.strip().strip("/") == ".tako" for line in before.splitlines()):
        return False
    with file.open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(
            ("" if not before or before.endswith("\n") else "\n") + ".tako/\n" + ("" if before else "__pycache__/\n.venv/\n")
        )
    return True
