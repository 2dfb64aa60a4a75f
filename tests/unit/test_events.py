"""What the daemon's log says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tako_lite.config import GroupSettings
from tako_lite.daemon import events
from tako_lite.daemon.events import Events
from tako_lite.processes.group import UNHEALTHY_AFTER, Group


def test_lasting_troubles_are_logged_once_each_and_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Events()
    for what in ("full", "full", "locked", "locked", "full"):
        told.trouble(what)
    assert caplog.messages == ["full", "locked"]
    monkeypatch.setattr(events, "AGAIN_AFTER", -1.0)
    told.trouble("full")
    assert caplog.messages == ["full", "locked", "full"]


def test_a_group_that_stays_unhealthy_is_logged_once_then_hourly_with_the_number_of_tries(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(times: int, error: str = "worker {} said no") -> None:
        for number in range(times):
            group.failures += 1
            group.last_error = error.format(number)
            told.group_changed(group)

    async def made() -> Group:
        return Group(GroupSettings("io"), owner)

    owner: Any = None
    group, told = asyncio.run(made()), Events()
    asyncio.run(fail(200))
    assert caplog.messages == [
        "group io failed to start and will be retried in a moment: worker 0 said no",
        f"group io is unhealthy: it failed to start {UNHEALTHY_AFTER} times and will be retried every 30 s: worker 4 said no",
    ]
    monkeypatch.setattr(events, "REMINDED_AFTER", 0.0)
    asyncio.run(fail(1))
    assert caplog.messages[2:] == ["group io still cannot start, after 201 tries in 0.0 hours: worker 0 said no"]
    monkeypatch.setattr(events, "REMINDED_AFTER", 3600.0)
    asyncio.run(fail(3, "another reason"))
    assert [message.rpartition(": ")[2] for message in caplog.messages[3:]] == ["another reason"]
