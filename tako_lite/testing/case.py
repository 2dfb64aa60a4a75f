"""`TakoTestCase`: a `Tako` for each test of unittest and Django."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from tako_lite.testing.tako import Tako


class TakoTestCase(unittest.TestCase):
    """Has a `Tako` as `self.tako`; `tako_options` are its arguments.

    Beside `django.test.TestCase` (`class OrderTests(TakoTestCase, TestCase)`), plain functions are called in the thread of the
    test, so that they see its transaction.
    """

    tako_options: ClassVar[dict[str, Any]] = {}
    tako: Tako

    def setUp(self) -> None:
        super().setUp()
        options = {"caller_thread": _is_of_django(type(self)), **self.tako_options}
        self.tako = Tako(**options)
        self.addCleanup(self._close_tako)

    def _close_tako(self) -> None:
        """Close it; after a failure without its own checks."""
        outcome: Any = getattr(self, "_outcome", None)
        if outcome is None or outcome.success:
            self.tako.close()
        else:
            self.tako.abandon()


def _is_of_django(case: type) -> bool:
    return any(base.__module__.startswith("django.test") for base in case.__mro__)
