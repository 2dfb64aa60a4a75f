"""Errors as the wire carries them."""

from __future__ import annotations

import os

import pytest

from tako_lite import errors
from tako_lite.engine import message_of
from tako_lite.errors import ChildFailed, NotFound, TakoError, from_json

FAMILIES = [
    family
    for name, family in vars(errors).items()
    if isinstance(family, type) and issubclass(family, TakoError) and not name.startswith("_")
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_of_the_tree_is_found_by_its_type(family: type[TakoError]) -> None:
    received = from_json({"type": family.type, "message": "what happened", "hint": "what to do"})

    assert type(received) is family
    assert received.as_json() == {"type": family.type, "message": "what happened", "hint": "what to do"}


def test_the_docstring_draws_every_class() -> None:
    drawn = errors.__doc__ or ""

    assert [family.__name__ for family in FAMILIES if f"{family.__name__} " not in drawn] == []


@pytest.mark.parametrize(
    ("word", "family"), [("unknown_group", NotFound), ("something_new", TakoError), (ChildFailed.type, ChildFailed)]
)
def test_types_without_a_class_of_their_own_keep_their_word(word: str, family: type[TakoError]) -> None:
    received = from_json({"type": word, "message": "m"})

    assert type(received) is family
    assert received.type == word


def test_a_missing_variable_of_the_environment_says_how_a_worker_gets_it() -> None:
    with pytest.raises(KeyError) as missing:
        os.environ["NOT_PASSED"]
    with pytest.raises(KeyError) as ordinary:
        {}["NOT_PASSED"]
    hint = "workers do not have this variable: name it in `env_pass` of the group, or set it in `env`"
    assert message_of(missing.value) == f"'NOT_PASSED' ({hint})"
    assert message_of(ordinary.value) == "'NOT_PASSED'"
