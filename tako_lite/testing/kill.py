"""Kills the worker of a run at each point that the run reaches, and compares what comes out with an undisturbed run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tako_lite.testing.effects import Effect
from tako_lite.testing.trial import Seen, Trial
from tako_lite.units import counted

MAX_VARIANTS: Final = 200


@dataclass
class Comparison:
    """How variants are compared with the undisturbed run."""

    same: Callable[[Any, Any], bool]
    unstable: Collection[str]

    def problems(self, whole: Seen, seen: Seen, deaths: int = 1) -> list[str]:
        """How a variant with so many deaths differs from what is promised."""
        found = []
        if seen.state != whole.state:
            error = f" ({seen.error['type']}: {seen.error['message']})" if seen.error else ""
            found.append(f"the run ended {seen.state}{error}, and without a kill {whole.state}")
        elif not self.same(whole.result, seen.result):
            found.append(
                f"the result is {seen.result!r}, and without a kill {whole.result!r}: "
                "does the handler read the clock, random numbers or the outside world outside of steps?"
            )
        if seen.attempts > whole.attempts:
            found.append(f"{seen.attempts} attempts were charged, and without a kill {whole.attempts}")
        return [*found, *self._of_steps(whole, seen), *self._of_bodies(whole, seen, deaths), *self._of_check(whole, seen)]

    def _of_steps(self, whole: Seen, seen: Seen) -> list[str]:
        found = [f"step `{name}` is not stored" for name in whole.steps if name not in seen.steps]
        found += [f"step `{name}` is stored, and without a kill it is not" for name in seen.steps if name not in whole.steps]
        for name, value in seen.steps.items():
            if name in whole.steps and name not in self.unstable and not self.same(whole.steps[name], value):
                twice = seen.bodies.get(name, 0) > whole.bodies.get(name, 0)
                why = f"it ran twice: if that is harmless, pass unstable=[{name!r}]" if twice else "it ran once"
                found.append(f"step `{name}` has the value {value!r}, and without a kill {whole.steps[name]!r} ({why})")
        return found

    def _of_bodies(self, whole: Seen, seen: Seen, deaths: int) -> list[str]:
        stored = {point.removeprefix("stored:") for point in seen.points if point.startswith("stored:")}
        found = []
        for name, count in seen.bodies.items():
            once = whole.bodies.get(name, 0)
            if name in stored and count > once:
                found.append(f"`{name}` ran again after its value was stored")
            elif count > once + deaths:
                found.append(f"`{name}` ran {count} times, and without a kill {once}")
        return found

    def _of_check(self, whole: Seen, seen: Seen) -> list[str]:
        if seen.complaint is None:
            return []
        twice = [name for name, count in seen.bodies.items() if count > whole.bodies.get(name, 0)]
        if twice:
            names = " and ".join(f"`{name}`" for name in twice)
            return [
                f"{names} ran twice, and {seen.complaint}. "
                "Make it idempotent: pass `step.run_id` to what it calls as the idempotency key"
            ]
        return [f"{seen.complaint}: code outside of steps runs again after a kill. Put what has an effect into a step"]


@dataclass
class Variant:
    """One set of deaths, and what differs after them."""

    deaths: Sequence[str]
    problems: list[str]

    @property
    def label(self) -> str:
        return " + ".join(self.deaths)


@dataclass
class KillReport:
    """What `kill_at_every_step` found."""

    workflow: str
    variants: list[Variant] = field(default_factory=list)
    left_out: int = 0
    effects: list[Effect] = field(default_factory=list)
    """What handlers did outside of steps, if that was asked for."""

    @property
    def problems(self) -> list[Variant]:
        """The variants that differ."""
        return [variant for variant in self.variants if variant.problems]

    def raise_problems(self) -> None:
        """Raise AssertionError if any variant differs."""
        if self.problems:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        wrong = self.problems
        head = f"{self.workflow} was killed at {counted(len(self.variants), 'point')}: "
        lines = [head + (f"{counted(len(wrong), 'point')} with problems" if wrong else "no problem")]
        width = max((len(variant.label) for variant in self.variants), default=0)
        lines += [
            f"  {variant.label:<{width}}  {variant.problems[0] if variant.problems else 'ok'}" for variant in self.variants
        ]
        if self.left_out:
            lines.append(f"  {self.left_out:,} more were left out: pass max_variants= for all")
        for variant in wrong:
            lines += ["", f"killed {' and then '.join(map(_words, variant.deaths))}:"]
            lines += [f"  {problem}" for problem in variant.problems]
            again = "; ".join(f'tako.crash("{self.workflow}", at="{point}")' for point in variant.deaths)
            lines.append(f"  reproduce it: {again}")
        lines += [f"  outside of steps: {effect}" for effect in dict.fromkeys(self.effects)]
        return "\n".join(lines)


def _words(point: str) -> str:
    kind, _, name = point.partition(":")
    name = name.partition("#")[0] or name
    return {
        "start": "before the first line of the handler",
        "before": f"before the body of `{name}`",
        "after": f"after the body of `{name}` had returned, and before its value was stored",
        "stored": f"after the value of `{name}` was stored",
        "park": f"before the run was parked on `{name}`",
        "end": "after the handler had returned, and before its result was stored",
    }.get(kind.partition("#")[0], f"at {point}")


def kill_everywhere(workflow: str, trial: Trial, comparison: Comparison, *, twice: bool, max_variants: int) -> KillReport:
    """Kill a run at each point, and with `twice` at each pair of points; returns what differs.

    Raises AssertionError if the run without a kill does not satisfy `check`.
    """
    whole = trial((), 0)
    _refuse_wrong(whole)
    report = KillReport(workflow, effects=list(whole.effects))
    singles: list[tuple[str, Seen]] = []
    for number, point in enumerate(whole.points, 1):
        if len(report.variants) == max_variants:
            report.left_out = len(whole.points) - number + 1
            break
        seen = trial((point,), number)
        singles.append((point, seen))
        report.variants.append(Variant((point,), comparison.problems(whole, seen)))
    if twice:
        _kill_twice(report, trial, comparison, whole, singles, max_variants)
    return report


def kill_at(point: str, workflow: str, trial: Trial, comparison: Comparison) -> KillReport:
    """Kill a run at one point; returns what differs."""
    whole = trial((), 0)
    _refuse_wrong(whole)
    return KillReport(workflow, [Variant((point,), comparison.problems(whole, trial((point,), 1)))])


def _refuse_wrong(whole: Seen) -> None:
    if whole.complaint is not None:
        raise AssertionError(f"the run that is not killed is wrong already ({whole.state}): {whole.complaint}")


def _kill_twice(
    report: KillReport,
    trial: Trial,
    comparison: Comparison,
    whole: Seen,
    singles: Sequence[tuple[str, Seen]],
    max_variants: int,
) -> None:
    pairs = [(first, second) for first, seen in singles for second in seen.later]
    room = max(max_variants - len(report.variants), 0)
    report.left_out += max(len(pairs) - room, 0)
    spread = pairs if len(pairs) <= room else [pairs[index * len(pairs) // room] for index in range(room)]
    for number, deaths in enumerate(spread, len(singles) + 1):
        report.variants.append(Variant(deaths, comparison.problems(whole, trial(deaths, number), len(deaths))))


def is_same(one: Any, other: Any) -> bool:
    """Whether two values that came from JSON are equal."""
    return bool(one == other)
