"""Test workflows: the daemon and the worker in the process of the test, on a queue of its own and with virtual time.

`Tako` is what tests use. Only three things of it are not those of production: the clock (`clock`), the processes (`workers`,
`executor`) and the socket (`harness`). `store` uses the real SQLite file without a thread. `project` loads tako.toml and the
workflow files once. `script` replaces steps, makes them fail and kills workers; `kill` does so at every step. `replay` compares
stored runs with changed code. `TestProject` is a real daemon with real workers in a temporary folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tako_lite.testing.alone import Left
    from tako_lite.testing.case import TakoTestCase
    from tako_lite.testing.kill import KillReport
    from tako_lite.testing.matching import ANY
    from tako_lite.testing.real import TestProject
    from tako_lite.testing.replay import NotSame
    from tako_lite.testing.run import TestRun
    from tako_lite.testing.tako import Tako

__all__ = ["ANY", "KillReport", "Left", "NotSame", "Tako", "TakoTestCase", "TestProject", "TestRun"]

_PLACES = {
    "ANY": "matching",
    "KillReport": "kill",
    "Left": "alone",
    "NotSame": "replay",
    "Tako": "tako",
    "TakoTestCase": "case",
    "TestProject": "real",
    "TestRun": "run",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command `replay` needs none of it but `replay`.
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"tako_lite.testing.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
