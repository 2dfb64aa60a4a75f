"""Sockets that a service manager opened for the daemon: the protocol of sd_listen_fds(3), without a library."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tako_lite.errors import BadInput

FIRST: Final = 3
NAMES: Final = ("control", "web", "monitor")
_HINT: Final = "`tako-lite systemd --socket` prints units that fit"

Name = Literal["control", "web", "monitor"]


class InheritedSockets(NamedTuple):
    """The listening sockets by what they are for. The service manager keeps them open, so they are never unlinked."""

    control: socket.socket | None = None
    web: socket.socket | None = None
    monitor: socket.socket | None = None

    def check_control(self, path: Path) -> None:
        """Raise BadInput unless the control socket is the one that clients connect to."""
        if self.control is None:
            return
        place = self.control.getsockname()
        if self.control.family != socket.AF_UNIX or not isinstance(place, str) or not os.path.exists(place):  # noqa: PTH110
            raise BadInput("the service manager passed a control socket that is no Unix socket at a path", hint=_HINT)
        if os.path.realpath(place) != os.path.realpath(path):
            raise BadInput(f"the service manager listens on {place}, but clients connect to {path}", hint=_HINT)


def inherited_sockets(environment: MutableMapping[str, str]) -> InheritedSockets:
    """The sockets that were passed to this process; the variables about them are removed. Raises BadInput.

    A single socket without a known name is the control socket.
    """
    meant_for = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if meant_for != str(os.getpid()) or not count.isdecimal():
        return InheritedSockets()
    found: dict[str, socket.socket] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) else ""
        if name not in NAMES and int(count) == 1:
            name = "control"
        if name not in NAMES or name in found:
            raise BadInput(f"the service manager passed a socket with the name {name!r}", hint=f"names are {', '.join(NAMES)}")
        found[name] = _adopted(FIRST + index, name)
    return InheritedSockets(**found)


def _adopted(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        adopted = socket.socket(fileno=descriptor)
        if adopted.type != socket.SOCK_STREAM or not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BadInput(f"the socket {name} of the service manager does not listen", hint="use ListenStream=, and Accept=no")
    except OSError as error:
        raise BadInput(f"the service manager passed no open socket for {name}: {error.strerror}") from None
    adopted.setblocking(False)
    return adopted
