"""Notices steps without `await`: such a call does nothing, and a run that went on would seem to have done it.

Python itself warns of a coroutine that is thrown away, at the line that does it; a step that is awaited costs nothing here.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Final, TextIO

from tako_lite.worker.run import current_run

_WARNING: Final = r"coroutine 'Step\.(\w+)' was never awaited"
_OURS: Final = Path(__file__).parents[1]


def watch_for_unawaited_steps(root: Path) -> None:
    """From now on a run that does not await a step fails for it; files are told as seen from `root`."""
    show = warnings.showwarning

    def heed(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        run, found = current_run.get(), re.match(_WARNING, str(message))
        if run is not None and found is not None:
            run.forget_await(f"step.{found[1]}", _place(Path(filename), lineno, root))
        show(message, category, filename, lineno, file, line)

    warnings.filterwarnings("always", _WARNING, RuntimeWarning)
    warnings.showwarning = heed


def _place(file: Path, line: int, root: Path) -> str | None:
    """Where in the project it was thrown away; None for one that a handler kept until its end, which whoever called it sees."""
    if file.is_relative_to(_OURS) or not file.is_relative_to(root):
        return None
    return f"{file.relative_to(root)}:{line}"
