"""What `tako_lite.hooks` exports, and the records that hooks get."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from tako_lite import hooks

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text(encoding="utf-8")


def test_the_exported_names_are_a_contract() -> None:
    assert hooks.__all__ == [
        "Death",
        "Outcome",
        "Proceed",
        "RunInfo",
        "StepInfo",
        "Unhealthy",
        "around",
        "around_step",
        "teardown",
    ]
    assert all(hasattr(hooks, name) for name in hooks.__all__)


def test_a_run_is_frozen_and_becomes_a_dict() -> None:
    run = hooks.RunInfo(id="r1", workflow="a", group="io", attempt=1, max_attempts=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.outcome = "failed"  # type: ignore[misc]
    assert list(run.as_dict()) == [field.name for field in dataclasses.fields(hooks.RunInfo)]
    assert run.as_dict()["group"] == "io"


def test_a_decorator_returns_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in ("attempt_hooks", "step_hooks", "teardown_hooks"):
        monkeypatch.setattr(hooks, registry, [])

    async def hook(run: hooks.RunInfo, proceed: hooks.Proceed) -> object:
        return await proceed()

    assert hooks.around(hook) is hook
    assert hooks.attempt_hooks == [hook]
    assert hooks.teardown(print) is print
    assert hooks.teardown_hooks == [print]


@pytest.mark.parametrize("record", [hooks.RunInfo, hooks.StepInfo, hooks.Death, hooks.Unhealthy])
def test_every_fact_is_documented(record: type) -> None:
    missing = [field.name for field in dataclasses.fields(record) if f"`{field.name}`" not in PAGE]
    assert missing == []


@pytest.mark.parametrize("outcome", typing.get_args(hooks.Outcome))
def test_every_outcome_is_documented(outcome: str) -> None:
    assert f"| `{outcome}` |" in PAGE
