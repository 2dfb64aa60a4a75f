"""What somebody may have meant."""

from __future__ import annotations

import pytest

from tako_lite.hints import LONGEST, did_you_mean, slip_of


def test_a_guess_is_made_only_for_close_words() -> None:
    assert did_you_mean("widht", ["width", "height"]) == "did you mean `width`?"
    assert did_you_mean("colour", ["width", "height"]) is None
    assert did_you_mean("colour", ()) is None


def test_only_the_beginning_of_a_long_word_is_compared() -> None:
    name = "n" * LONGEST

    assert did_you_mean(name + "x" * 2_000_000, ["other", name]) == f"did you mean `{name}`?"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("iou", "iot"),
        ("emial", "email"),
        ("emails", "email"),
        ("meda", "media"),
        ("thumbnials", "thumbnails"),
        ("reprots", "reports"),
    ],
)
def test_a_word_with_a_letter_or_two_wrong_is_a_slip(word: str, meant: str) -> None:
    assert slip_of(word, ["other", meant]) == meant


@pytest.mark.parametrize(
    ("word", "other"),
    [("alerts", "reports"), ("email", "email"), ("eu1", "eu2"), ("io", "ip"), ("media", "mail"), ("fast", "slow"), ("a", "b")],
)
def test_a_word_of_its_own_is_no_slip(word: str, other: str) -> None:
    assert slip_of(word, [other]) is None
