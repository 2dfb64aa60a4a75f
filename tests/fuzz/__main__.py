"""`python -m tests.fuzz`: atheris feeds the decoder and the shapes of the commands, and keeps what reaches new code.

atheris is installed into an environment of its own below `build/`; nothing else needs it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = Path(__file__).parent / "corpus"
BUILD: Final = ROOT / "build" / "fuzz"
RELEASE: Final = "atheris>=3,<4"


def main() -> int:
    """Fuzz for a while; exit code 0 if nothing was found. What was found is a file in build/fuzz, and feeds again."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--merge", action="store_true", help="keep in tests/fuzz/corpus what reaches new code, and no more")
    asked = parser.parse_args()
    python = environment()
    found = BUILD / "found"
    found.mkdir(parents=True, exist_ok=True)
    engine = [str(python), "-m", "tests.fuzz.engine", f"-artifact_prefix={BUILD}/", "-max_len=1200", "-print_final_stats=1"]
    if asked.merge:
        return subprocess.run([*engine, "-merge=1", str(CORPUS), str(found)], cwd=ROOT, check=False).returncode
    engine += [f"-max_total_time={asked.seconds}", f"-dict={CORPUS.parent / 'words.dict'}"]
    return subprocess.run([*engine, str(found), str(CORPUS)], cwd=ROOT, check=False).returncode


def environment() -> Path:
    """The interpreter of the fuzzer's environment, made when it is first needed."""
    folder = BUILD / "venv"
    python = folder / "bin" / "python"
    probe = subprocess.run([str(python), "-c", "import atheris"], capture_output=True, check=False) if python.exists() else None
    if probe is None or probe.returncode:
        print(f"installing {RELEASE} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", RELEASE]
        subprocess.run([str(python), *install], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
