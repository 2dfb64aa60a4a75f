"""A short chaos run in the ordinary gate; `make test-faults` has a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.chaos import Chaos, plan

pytestmark = [pytest.mark.sqlite, pytest.mark.long]


@pytest.mark.timeout(240)  # more than the quiet phase waits, so that it cleans up by itself
def test_ten_seconds_of_kills_and_freezes_break_no_promise(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path.resolve(), seconds=10, seed=1)
    assert chaos.run() == []
    assert chaos.kills > 0
    kinds = {fact["kind"] for fact in chaos.witness.read()}
    assert {"acked", "start", "body", "saved", "end", "ended", "fault", "cancel", "signalling"} <= kinds


def test_a_seed_replays_its_plan() -> None:
    assert plan(7, 60) == plan(7, 60) != plan(8, 60)
