"""What a client without a daemon on its machine says about the servers that start its runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tako_lite.store.membership import OtherServer

NO_DAEMON: Final = "no daemon is running; the run starts when `tako-lite serve` does"
NO_DAEMON_MANY: Final = "no daemon is running; the runs start when `tako-lite serve` does"


def warn_of_file(number: int) -> str:
    """The warning about new runs in a queue file that no daemon serves."""
    return NO_DAEMON if number == 1 else NO_DAEMON_MANY


def warn_of_groups(groups: Collection[str], servers: Collection[OtherServer], number: int) -> str | None:
    """The warning about new runs of these groups in a database, None if a live server serves each of them."""
    runs = "the run starts" if number == 1 else "the runs start"
    if not servers:
        return f"no server of the queue is live; {runs} when `tako-lite serve` runs on some machine"
    unserved = sorted(group for group in groups if not any(server.serves(group) for server in servers))
    if not unserved:
        return None
    return (
        f"no live server serves {' and '.join(unserved)}; {runs} when one does: tako-lite serve --groups {','.join(unserved)}"
    )
