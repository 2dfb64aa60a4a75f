"""The lease of a server against a model: one holder, observers with clocks of their own, messages that are late or lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tako_lite.store.lease import Beat, Observer, deadline, doubt, margin

LEASE = 60.0
SKEW = 0.0005
"""Clocks run at rates that differ by up to 500 ppm."""
KILL_TAKES = 3.0
"""Seconds that the killing of the workers takes at most: less than the margin."""


@dataclass
class World:
    """The row of the server, and what its holder has done, in true time."""

    beat: int = 0
    now: float = 0.0
    renewed_at: float = 0.0
    """When the holder sent its last renewal that was answered."""
    ended: bool = False
    seen: list[tuple[float, int]] = field(default_factory=list)

    def workers_live_until(self, rate: float) -> float:
        """The true time at which all workers of the holder are dead: its own clock runs at `rate`."""
        return self.renewed_at + (deadline(0.0, LEASE)) / rate + KILL_TAKES


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["renewed", "answer lost", "renewal lost", "look", "look", "look", "suspend"]),
        st.floats(0.1, 25.0),
        st.floats(0.0, 4.0),
    ),
    min_size=5,
    max_size=120,
)


@settings(max_examples=400, deadline=None)
@given(events=EVENTS, holder=st.floats(1 - SKEW, 1 + SKEW), observer=st.floats(1 - SKEW, 1 + SKEW))
def test_no_observer_ends_a_server_whose_workers_may_live(
    events: list[tuple[str, float, float]], holder: float, observer: float
) -> None:
    world, eyes = World(), Observer()
    silence = [("look", 0.5, 0.0)] * 160  # at last the holder says nothing more, and is watched closely
    for what, pause, delay in [*events, *silence]:
        world.now += pause * (40 if what == "suspend" else 1)
        if what in ("renewed", "answer lost") and not world.ended:
            sent_at = world.now
            world.now += delay
            world.beat += 1  # the row changes at some time after the renewal was sent
            if what == "renewed" and sent_at < world.workers_live_until(holder) - KILL_TAKES:
                world.renewed_at = sent_at
        if what == "look" and not world.ended:
            dead = eyes.look(world.now * observer, {"fra": Beat(world.beat, LEASE)})
            if dead:
                world.ended = True
                assert world.now >= world.workers_live_until(holder), "a server was ended while its workers may live"


def test_a_server_that_never_renews_again_is_ended_within_a_lease_and_one_look() -> None:
    eyes, looks = Observer(), [second * 5.0 for second in range(20)]
    ended = next(moment for moment in looks if eyes.look(moment, {"fra": Beat(7, LEASE)}))
    assert ended == LEASE


def test_an_observer_that_was_suspended_ends_no_server_when_it_wakes() -> None:
    eyes = Observer()
    for moment in (0.0, 5.0, 10.0, 3_600.0, 3_605.0):
        assert eyes.look(moment, {"fra": Beat(7, LEASE)}) == []
    assert eyes.look(3_610.0, {"fra": Beat(8, LEASE)}) == []


def test_a_beat_that_changes_starts_the_count_anew() -> None:
    eyes = Observer()
    for number in range(40):
        assert eyes.look(number * 5.0, {"fra": Beat(number // 11, LEASE)}) == []


def test_each_server_is_judged_by_its_own_lease() -> None:
    eyes = Observer()
    beats = {"short": Beat(1, 15.0), "long": Beat(1, 600.0)}
    ended = [eyes.look(moment * 4.0, beats) for moment in range(6)]
    assert ended == [[], [], [], [], ["short"], ["short"]]


def test_the_workers_are_dead_before_the_lease_ends_and_claims_stop_before_that() -> None:
    for lease in (15.0, 60.0, 600.0):
        assert doubt(100.0, lease) < deadline(100.0, lease) == 100.0 + lease - margin(lease)
        assert margin(lease) >= 5.0
