"""atheris around `feed`; runs in the fuzzer's own environment. Arguments are those of libFuzzer."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["tako_lite"]):
    from tests.fuzz.target import feed

# The first argument is the command by which libFuzzer starts itself again, when it merges.
atheris.Setup([f"{sys.executable} -m tests.fuzz.engine", *sys.argv[1:]], lambda data: feed(data) and None)
atheris.Fuzz()
