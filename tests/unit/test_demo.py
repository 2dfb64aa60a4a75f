"""What the demo says of its own numbers: what is true, also where a slow machine made it cancel images."""

from __future__ import annotations

import pytest

from examples.shop.demo import conclusion
from examples.shop.rush import IMAGES, Outcome


def outcome(latency: float, images: int) -> Outcome:
    return Outcome([latency] * 20, images, 20.0)


def test_where_all_images_are_done_it_was_the_same_work() -> None:
    said = conclusion(outcome(0.02, IMAGES), outcome(10.0, IMAGES))
    assert said.startswith("The same work in the same number of processes: ")
    assert "20 ms" in said and "500 times" in said and "cancelled" not in said


@pytest.mark.parametrize(("grouped", "mixed"), [(IMAGES - 7, IMAGES), (IMAGES, IMAGES - 7), (IMAGES - 9, IMAGES - 7)])
def test_where_images_were_cancelled_in_either_half_it_says_so_and_claims_nothing_else(grouped: int, mixed: int) -> None:
    said = conclusion(outcome(0.02, grouped), outcome(10.0, mixed))
    assert "same work" not in said
    assert f"{grouped} of {IMAGES} were done with groups, {mixed} in one group" in said
    assert ("came early" in said) == (mixed < IMAGES)
