"""What is measured, what it should reach, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal, Protocol

Loop = Literal["asyncio", "uvloop"]
PER_SECOND: Final = "/s"
NEAR: Final = 0.8
"""The share of the least program's figure that excuses a goal which is missed."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure's name and what it should reach: `least`, `most`, or the least `share` of the raw ceiling that `of` names.

    A `note` stands where a goal would, and nothing is judged by it.
    """

    what: str
    unit: str = PER_SECOND
    least: float | None = None
    most: float | None = None
    share: float | None = None
    of: str = "claim_complete"
    note: str = ""
    floor: str = ""
    """The figure, as SCENARIO.KEY, of the least program that could reach it."""

    def __str__(self) -> str:
        if self.share is not None:
            return f"≥ {self.share:.0%} of raw{'' if self.of == 'claim_complete' else ' inserts'}"
        if self.least is not None:
            return f"≥ {amount(self.least)} {self.unit}".rstrip()
        if self.most is not None:
            return f"≤ {amount(self.most)} {self.unit}".rstrip()
        return self.note

    def is_at_floor(self, value: float, floor: float) -> bool:
        """Whether the figure is within a quarter of what the least program reaches: more is beyond the machine."""
        return value <= floor / NEAR if self.most is not None else value >= floor * NEAR

    def is_met(self, value: float, ratio: float | None) -> bool | None:
        """Whether the figure reaches its goal; None where it has none."""
        if self.share is not None:
            return ratio is not None and ratio >= self.share
        if self.least is not None:
            return value >= self.least
        return None if self.most is None else value <= self.most


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scenario is to be measured: in `folder`, on the disk that is meant, and short where `quick`."""

    folder: Path
    quick: bool
    loop: Loop = "asyncio"
    patience: float = 0.0
    """Seconds to wait for other programs to leave the machine alone, before each run."""

    def size(self, full: int, quick: int) -> int:
        """The amount of work for a full or a quick run."""
        return quick if self.quick else full


class Scenario(Protocol):
    """A module of `bench.scenarios`. `MOST_RUNS` keeps the long ones from being repeated as often as the others."""

    @property
    def MOST_RUNS(self) -> int: ...  # noqa: N802

    @property
    def GOALS(self) -> Mapping[str, Goal]: ...  # noqa: N802

    def measure(self, plan: Plan) -> dict[str, float]:
        """The figures of one run, by their key in `GOALS`; one that cannot be measured here is left out."""
        ...


@dataclass(slots=True)
class Figure:
    """The values of all runs, each with its raw ceiling, a rate, as it was before and after."""

    goal: Goal
    values: list[float] = field(default_factory=list)
    ceilings: list[float] = field(default_factory=list)
    floor: Figure | None = None
    """What the least program reached in the same measurement."""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median share of the raw ceiling; None for what is not a rate."""
        if self.goal.unit != PER_SECOND:
            return None
        return median(value / ceiling for value, ceiling in zip(self.values, self.ceilings, strict=True))

    @property
    def is_met(self) -> bool | None:
        return self.goal.is_met(self.value, self.ratio)

    @property
    def is_excused(self) -> bool:
        """Whether the goal is missed, and the least program that could reach it does not get much further."""
        missed = self.is_met is False and self.floor is not None and bool(self.floor.values)
        return missed and self.floor is not None and self.goal.is_at_floor(self.value, self.floor.value)

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.goal.what,
            "unit": self.goal.unit,
            "goal": str(self.goal),
            "value": self.value,
            "ratio": self.ratio,
            "ok": self.is_met,
            "floor": self.floor.value if self.floor is not None and self.floor.values else None,
            "excused": self.is_excused,
            "values": self.values,
            "ceilings": self.ceilings,
        }


def amount(value: float) -> str:
    """A number with as many digits as are of interest."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else f"{value:.4f}"
