"""Environment variables that act when a process starts: setting them after a fork has no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOADED_CODE: Final = ("LD_PRELOAD", "LD_AUDIT")
"""Variables that load user code before anything else runs; that code may read any variable."""

READ_AT_START: Final = (
    # the interpreter, and where it finds itself and its packages
    *("PYTHON", "PATH", "HOME", "CONDA_", "PYENV_", "ASDF_", "UV_PYTHON"),
    # locales, the dynamic loader and the C library
    *("LANG", "LC_", "LOCPATH", "GCONV_PATH", "LD_", "GLIBC_TUNABLES", "LIBC_FATAL_STDERR_"),
    # allocators, also those that an interpreter is linked with
    *("MALLOC_", "_RJEM_MALLOC_", "JE_MALLOC_", "JEMALLOC_", "MIMALLOC_", "TCMALLOC_", "HEAPPROFILE", "HEAPCHECK", "SCUDO_"),
    # sanitizers and profilers of the interpreter
    *("ASAN_", "LSAN_", "MSAN_", "TSAN_", "UBSAN_", "HWASAN_", "GCOV_", "LLVM_PROFILE_"),
    # OpenSSL, which Python's own modules are linked with
    "OPENSSL_",
    # tools that hook into a process from a .pth file or sitecustomize
    *("COVERAGE_", "COV_CORE_", "OTEL_", "DD_", "NEW_RELIC_"),
)
"""The beginnings of their names."""


def acting_at_start(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The part of an environment that a process must be started with, sorted by name."""
    whole = any(environment.get(name) for name in LOADED_CODE)
    return tuple(sorted((name, value) for name, value in environment.items() if whole or name.startswith(READ_AT_START)))
