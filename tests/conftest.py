"""What holds for every test."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script: Ctrl-C would do nothing
    signal.signal(signal.SIGINT, signal.default_int_handler)
