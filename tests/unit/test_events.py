"""What the daemon's log says."""

from __future__ import annotations

import pytest

from tako_lite.daemon import events
from tako_lite.daemon.events import Events


def test_a_trouble_that_lasts_is_told_once_and_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Events()
    for what in ("full", "full", "locked", "locked", "full"):
        told.trouble(what)
    assert caplog.messages == ["full", "locked", "full"]
    monkeypatch.setattr(events, "AGAIN_AFTER", -1.0)
    told.trouble("full")
    assert caplog.messages == ["full", "locked", "full", "full"]
