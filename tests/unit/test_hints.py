"""What somebody may have meant."""

from __future__ import annotations

from tako_lite.hints import LONGEST, did_you_mean


def test_a_guess_is_made_only_for_close_words() -> None:
    assert did_you_mean("widht", ["width", "height"]) == "did you mean `width`?"
    assert did_you_mean("colour", ["width", "height"]) is None
    assert did_you_mean("colour", ()) is None


def test_only_the_beginning_of_a_long_word_is_compared() -> None:
    name = "n" * LONGEST

    assert did_you_mean(name + "x" * 2_000_000, ["other", name]) == f"did you mean `{name}`?"
