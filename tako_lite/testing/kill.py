"""Kills the worker of a run at each point that the run reaches, and compares what comes out with an undisturbed run."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tako_lite.testing.effects import Effect, watching
from tako_lite.testing.script import Crash
from tako_lite.units import counted

if TYPE_CHECKING:
    from tako_lite.testing.scripting import Scripting
    from tako_lite.testing.tako import Tako

Action = tuple[Any, ...]
"""What the world does: `("signal", event, payload)`, `("advance", duration)`, or a function with its arguments."""
Check = Callable[[], object]
MAX_VARIANTS: Final = 200


class Seen(NamedTuple):
    """What came out of one run of a workflow."""

    state: str
    result: Any
    error: Mapping[str, Any] | None
    steps: Mapping[str, Any]
    bodies: Mapping[str, int]
    points: Sequence[str]
    """The points that were reached before the first death, in their order."""
    later: Sequence[str]
    """The points that were reached after it."""
    attempts: int
    complaint: str | None
    """Why `check` was not satisfied."""
    effects: Sequence[Effect] = ()


class Trial(Protocol):
    """Runs the workflow once, in a fresh queue."""

    def __call__(self, deaths: Sequence[str], seed: int) -> Seen:
        """`deaths` are the points at which the worker dies, one after the other."""


@dataclass
class LocalTrial:
    """Runs it in a `Tako` of its own, with the stubs of another one."""

    tako: Scripting
    workflow: str
    payload: Any
    options: Mapping[str, Any]
    script: Sequence[Action]
    check: Check | None
    reset: Callable[[], object] | None
    effects: bool

    def __call__(self, deaths: Sequence[str], seed: int) -> Seen:
        if self.reset is not None:
            self.reset()
        state = random.getstate()
        random.seed(seed)  # a result that depends on random numbers outside of steps differs then
        try:
            root = self.tako.loaded.config.root
            with _quiet(), self.tako.twin() as twin, watching(root, self.effects) as effects:
                return self._run(twin, deaths, effects)
        finally:
            random.setstate(state)

    def _run(self, twin: Tako, deaths: Sequence[str], effects: Sequence[Effect]) -> Seen:
        run = twin.enqueue(self.workflow, self.payload, **self.options)
        crash: Crash | None = None
        for point in deaths:
            crash = Crash(self.workflow, point, run.id, crash)
            twin.script.crashes.append(crash)
        twin.run_until_idle()
        for action in self.script:
            _act(twin, action)
            twin.run_until_idle()
        twin.run_until_idle(skip=True)
        shown = run.data
        reached = [point for point in twin.script.points if point.run_id == run.id]
        return Seen(
            shown["state"],
            shown["result"],
            shown["error"],
            {step["name"]: None if step["kind"] == "enqueue" else step["result"] for step in shown["steps"]},
            {step: count for (id, step), count in twin.script.bodies.items() if id == run.id},
            [point.label for point in reached if not point.deaths],
            [point.label for point in reached if point.deaths == 1],
            shown["attempts"],
            complaint_of(self.check),
            list(effects),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Have the daemon not warn of the deaths in this block, which are meant."""
    logger = logging.getLogger("tako_lite")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _act(twin: Tako, action: Action) -> None:
    verb, *arguments = action
    if callable(verb):
        verb(*arguments)
    else:
        getattr(twin, verb)(*arguments)


def complaint_of(check: Check | None) -> str | None:
    """Why a check is not satisfied, or None. It may raise AssertionError, or return something false other than None."""
    if check is None:
        return None
    try:
        returned = check()
    except AssertionError as error:
        return f"check failed: {error}"
    return None if returned is None or returned else "check() is false"


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
