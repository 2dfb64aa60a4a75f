"""How much of a fault a test takes: little of it in the gate, as much as the catalogue says in `make test-faults`."""

from __future__ import annotations

import os
import random
from typing import Final, TypeVar

T = TypeVar("T")
FULL: Final = os.environ.get("FAULTS") == "full"


def scaled(quick: T, full: T) -> T:
    """The first in the gate, the second at full size; who asks has the mark `full`, and is true of both."""
    return full if FULL else quick


def dice() -> random.Random:
    """Chance that can be had again: of one seed in the gate, at full size of a new one or of `FAULTS_SEED`; it is printed."""
    seed = int(os.environ.get("FAULTS_SEED", scaled(1, random.SystemRandom().randrange(1_000_000))))
    print(f"seed {seed}")
    return random.Random(seed)
