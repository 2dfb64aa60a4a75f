"""Fingerprints of errors: one mistake has one, whatever it was about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako_lite.fingerprint import fingerprint_of_error, fingerprint_of_word, normalized

SOURCE = """
def charge(order): raise ValueError(f"order {order} is unpaid")
def ship(order): raise ValueError(f"order {order} is unpaid")
def look_up(order): return {}[order]
def wrap(order):
    try: look_up(order)
    except KeyError as error: raise RuntimeError(f"order {order} failed") from error
"""


def load(file: Path, lines_above: int = 0) -> Callable[[str, object], BaseException]:
    """Functions of a project in this file; what they raise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    source = "\n" * lines_above + SOURCE
    names: dict[str, Callable[[object], object]] = {}
    exec(compile(source, str(file), "exec"), names)

    def raised(name: str, order: object) -> BaseException:
        try:
            names[name](order)
        except Exception as error:
            return error
        raise AssertionError

    return raised


def test_other_ids_and_other_lines_are_the_same_mistake(tmp_path: Path) -> None:
    raised, moved = load(tmp_path / "shop.py"), load(tmp_path / "shop.py", lines_above=7)
    first = fingerprint_of_error(raised("charge", 4711), tmp_path)
    assert first == fingerprint_of_error(moved("charge", 99), tmp_path)
    assert first[0] == "1"
    assert len(first) == 16


def test_another_function_another_file_and_another_type_are_other_mistakes(tmp_path: Path) -> None:
    raised, other = load(tmp_path / "shop.py"), load(tmp_path / "store" / "shop.py")
    found = {
        fingerprint_of_error(error, tmp_path)
        for error in (raised("charge", 4711), raised("ship", 4711), raised("look_up", 4711), other("charge", 4711))
    }
    assert len(found) == 4


def test_the_innermost_cause_counts(tmp_path: Path) -> None:
    raised = load(tmp_path / "shop.py")
    assert fingerprint_of_error(raised("wrap", 1), tmp_path) == fingerprint_of_error(raised("wrap", 22), tmp_path)
    error = raised("look_up", 5)
    assert fingerprint_of_error(ExceptionGroup("two", [error, ValueError("b")]), tmp_path) == fingerprint_of_error(
        error, tmp_path
    )


def test_errors_that_name_each_other_as_cause_end(tmp_path: Path) -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert fingerprint_of_error(one, tmp_path)


def test_an_error_whose_text_cannot_be_read_has_a_fingerprint(tmp_path: Path) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert fingerprint_of_error(Odd(), tmp_path)


def test_an_error_outside_of_the_project_is_distinguished_by_its_message(tmp_path: Path) -> None:
    def parse(text: str) -> str:
        try:
            json.loads(text)
        except ValueError as error:
            return fingerprint_of_error(error, tmp_path / "project")
        raise AssertionError

    assert parse("{") == parse("{")
    assert parse("{") != parse("[1,,2]")


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("run 0190c8a1-2b3c-7d4e-8f90-123456789abc is gone", "run <uuid> is gone"),
        ("order 4711 of ann@example.com", "order <n> of <email>"),
        ("GET https://example.com/a?b=1 failed", "GET <url> failed"),
        ("at 2026-11-29T10:00:00+01:00 on 10.0.0.7:5432", "at <time> on <ip>"),
        ("object at 0x7f2a63100ed0", "object at <hex>"),
        ("no file /srv/shop/a.txt", "no file <path>"),
        ("commit deadbeef12", "commit <hex>"),
        ("'a very long quoted text of the user'", "<text>"),
        ("step 7 of 'short'\nsecond line", "step <n> of 'short'"),
        ("utf8 is no E5", "utf8 is no E5"),
    ],
)
def test_what_varies_in_a_message_is_replaced(message: str, wanted: str) -> None:
    assert normalized(message) == wanted


@given(st.text(max_size=3_000))
def test_any_message_is_normalized_once_and_for_all(message: str) -> None:
    once = normalized(message)
    assert len(once) <= 200
    assert fingerprint_of_word("failed", message) == fingerprint_of_word("failed", message)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_do_not_split_a_group(one: int, two: int) -> None:
    assert fingerprint_of_word("failed", f"order {one} failed") == fingerprint_of_word("failed", f"order {two} failed")
