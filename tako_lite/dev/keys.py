"""The keys of `dev` on a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

STDIN: Final = 0


def has_keys() -> bool:
    """Whether a person sits at the keyboard: on a terminal, and in its foreground."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty() and os.tcgetpgrp(STDIN) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def single_keys() -> Iterator[None]:
    """Have the terminal deliver each key at once and not show it; Ctrl-C still interrupts."""
    before: list[Any] = termios.tcgetattr(STDIN)
    tty.setcbreak(STDIN)
    try:
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)


class Keys:
    """Calls what a key stands for."""

    def __init__(
        self,
        address: str | None,
        reload: Callable[[], None],
        list_schedules: Callable[[], Sequence[str]],
        run: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._list_schedules = list_schedules
        self._run = run
        self._say = say
        self._choices: list[str] = []
        self._actions: dict[str, Callable[[], object]] = {"r": reload, "s": self._choose, "q": stop}
        if address is not None:
            self._actions["o"] = lambda: open_page(address)

    def start(self) -> None:
        """Read the keyboard."""
        asyncio.get_running_loop().add_reader(STDIN, self._on_key)

    def stop(self) -> None:
        """Read it no more."""
        asyncio.get_running_loop().remove_reader(STDIN)

    def _on_key(self) -> None:
        pressed = os.read(STDIN, 32).decode(errors="ignore")
        if not pressed:
            self.stop()
        for key in pressed.lower():
            choices, self._choices = self._choices, []
            if key.isdecimal() and 0 < int(key) <= len(choices):
                self._run(choices[int(key) - 1])
            elif action := self._actions.get(key):
                action()

    def _choose(self) -> None:
        """Run the schedule; if there are several, the next key chooses one."""
        names = list(self._list_schedules())[:9]
        if len(names) == 1:
            self._run(names[0])
        elif names:
            self._choices = names
            self._say("run which schedule? " + "  ".join(f"{number} {name}" for number, name in enumerate(names, 1)))
        else:
            self._say("there is no schedule")


def stop() -> None:
    """End as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def open_page(address: str) -> None:
    """Open a page in the browser, which may take its time."""
    asyncio.get_running_loop().run_in_executor(None, webbrowser.open, address)
