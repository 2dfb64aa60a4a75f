"""Builds `dist/tako-lite.pyz`: tako-lite, its dashboard and all dependencies, in one file that needs only Python 3.11, and
libpq where the queue is in PostgreSQL.

Everything in it is pure Python, so that one file serves every machine. The same sources give the same bytes.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NoReturn

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "pyz"
WHEELS = ROOT / "build" / "wheels"
TARGET = ROOT / "dist" / "tako-lite.pyz"

PIP = [sys.executable, "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check"]

OLDEST = "3.11"
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
PLATFORMS = ("linux", "darwin")

# pip installs for the Python that it runs on; these are what only another one of PYTHONS asks for.
FOR_OTHER_PYTHONS = ("typing_extensions",)

# The extra `postgres` asks for the compiled psycopg. Its Python code does the same through the libpq of the system.
DRIVER = "psycopg>=3.2.10,<4"

# MarkupSafe has no wheel without a compiled part, which only makes it faster: without it, its Python code does the same.
WITHOUT_SPEEDUPS = "markupsafe"

SHEBANG = b"#!/usr/bin/env python3\n"
COMPILED = {".so", ".pyd", ".dylib", ".dll", ".pyc"}

# Old Pythons read this too, down to 2.7: it has to say what is wrong, not to fail on its own syntax.
MAIN = """\
import os
import sys


def refusal():
    if sys.platform == "win32":
        return "tako-lite runs on Linux and macOS, not on Windows (WSL 2 works)"
    if sys.version_info < (3, 11):
        this = "%d.%d (%s)" % (sys.version_info[0], sys.version_info[1], sys.executable)
        return "tako-lite needs Python 3.11 or newer, and this is " + this
    return None


def main():
    reason = refusal()
    if reason:
        sys.stderr.write(reason + "\\n")
        return 2
    # A relative path to this file would stop working at the first change of folder.
    sys.path[0] = os.path.abspath(sys.path[0])
    from tako_lite.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
"""


def main() -> None:
    """Builds the file, or leaves with one line that says why it cannot."""
    install()
    tidy()
    check_pure()
    check_complete()
    write()
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1_000_000:.1f} MB")


def install() -> None:
    """Installs the project and its dependencies to STAGE; pip is held to wheels without compiled parts."""
    shutil.rmtree(STAGE, ignore_errors=True)
    make_pure_wheel()
    pip = [*PIP, "install", f"--find-links={WHEELS}"]
    pure = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", f"--python-version={OLDEST}"]
    done = subprocess.run([*pip, *pure, "--no-compile", f"--target={STAGE}", f"{ROOT}[web]", DRIVER, *FOR_OTHER_PYTHONS])
    if done.returncode:
        fail("pip could not install the project and its dependencies; the reason is above")


def make_pure_wheel() -> None:
    """Puts a wheel of MarkupSafe without its compiled part into WHEELS."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    if subprocess.run([*PIP, "download", "--no-deps", "--only-binary=:all:", f"--dest={WHEELS}", WITHOUT_SPEEDUPS]).returncode:
        fail(f"pip could not download {WITHOUT_SPEEDUPS}; the reason is above")
    (compiled,) = WHEELS.glob("*.whl")
    name, version = compiled.name.split("-")[:2]
    with zipfile.ZipFile(compiled) as old, zipfile.ZipFile(WHEELS / f"{name}-{version}-py3-none-any.whl", "w") as new:
        for entry in old.infolist():
            if "_speedups" not in entry.filename:
                new.writestr(entry, without_speedups(entry.filename, old.read(entry)))
    compiled.unlink()


def without_speedups(name: str, content: bytes) -> bytes:
    """The content of a file of the wheel; what describes the wheel no longer names a platform or the files left out."""
    lines = content.splitlines(keepends=True)
    if name.endswith(".dist-info/WHEEL"):
        kept = [line for line in lines if not line.startswith((b"Tag:", b"Root-Is-Purelib:"))]
        return b"".join([*[line for line in kept if line.strip()], b"Root-Is-Purelib: true\n", b"Tag: py3-none-any\n"])
    if name.endswith(".dist-info/RECORD"):
        return b"".join(re.sub(rb",.*", b",,", line) for line in lines if b"_speedups" not in line)
    return content


def tidy() -> None:
    """Adds the entry point, and removes what has no meaning inside of the file, among it the path of this checkout."""
    shutil.rmtree(STAGE / "bin", ignore_errors=True)
    for path in [*STAGE.glob("*.dist-info/direct_url.json"), *STAGE.glob("*.dist-info/RECORD")]:
        path.unlink()
    (STAGE / "__main__.py").write_text(MAIN, encoding="utf-8")


def check_pure() -> None:
    """Refuses compiled files: they would tie the file to one platform, and nothing can load them from a zip."""
    compiled = [str(path.relative_to(STAGE)) for path in sorted(STAGE.rglob("*")) if path.suffix in COMPILED]
    if compiled:
        fail(f"not pure Python: {', '.join(compiled)}")


def check_complete() -> None:
    """Refuses a file that lacks what some other Python of PYTHONS on one of PLATFORMS would need."""
    present = {normal(found.name): found for found in distributions(path=[str(STAGE)])}
    missing = {
        f"{requirement} (of {name})"
        for name, found in present.items()
        for requirement in requirements(found)
        if normal(requirement.name) not in present
    }
    if missing:
        fail(f"missing, add to FOR_OTHER_PYTHONS: {', '.join(sorted(missing))}")


def requirements(distribution: Distribution) -> list[Requirement]:
    """What a distribution requires, extras aside, on any Python of PYTHONS and any of PLATFORMS."""
    asked = [Requirement(text) for text in distribution.requires or []]
    return [requirement for requirement in asked if applies(requirement)]


def applies(requirement: Requirement) -> bool:
    if requirement.marker is None:
        return True
    targets = [
        {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": platform, "extra": ""}
        for python in PYTHONS
        for platform in PLATFORMS
    ]
    return any(requirement.marker.evaluate({**target, "os_name": "posix"}) for target in targets)


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write() -> None:
    """Writes TARGET beside itself first, so that a running one is never seen half-written."""
    TARGET.parent.mkdir(exist_ok=True)
    draft = TARGET.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(STAGE.rglob("*")):
                if path.is_file():
                    archive.writestr(entry(path), path.read_bytes())
    draft.chmod(0o755)
    draft.replace(TARGET)


def entry(path: Path) -> zipfile.ZipInfo:
    """The record of a file, with the time that zip counts from instead of the time of building."""
    record = zipfile.ZipInfo(path.relative_to(STAGE).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
    record.compress_type = zipfile.ZIP_DEFLATED
    record.external_attr = (stat.S_IFREG | 0o644) << 16
    return record


def fail(reason: str) -> NoReturn:
    sys.exit(f"build_binary: {reason}")


if __name__ == "__main__":
    main()
