"""What the daemon's log says."""

from __future__ import annotations

import pytest

from tako_lite.daemon import events
from tako_lite.daemon.events import Events


def test_troubles_that_last_are_told_once_each_and_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Events()
    for what in ("full", "full", "locked", "locked", "full"):
        told.trouble(what)
    assert caplog.messages == ["full", "locked"]
    monkeypatch.setattr(events, "AGAIN_AFTER", -1.0)
    told.trouble("full")
    assert caplog.messages == ["full", "locked", "full"]
