"""Workflows that hold a run until a test releases it, and what a run was charged."""

from __future__ import annotations

from typing import Any

from tests.support.project import Project

STEPS = """
    def first(n):
        witness("first", n=n)
        return os.getpid()

    def second(n):
        witness("second", n=n)
        while not os.path.exists("go"):
            time.sleep(0.01)
        return n

    @workflow("two-steps")
    async def two_steps(n, step: Step):
        witness("attempt", n=n, attempt=step.attempt)
        await step.run("first", first, n)
        return await step.run("second", second, n)
"""


def release(project: Project, what: str = "go") -> None:
    """Let handlers go on that wait for a file."""
    (project.root / what).touch()


def charged(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["state"], run["attempts"], run["crashes"]


HOLD = """
    def hold():
        witness("hold")
        while not os.path.exists("go"):
            time.sleep(0.01)
        witness("over")
        return "x" * 20_000

    @workflow("hold")
    async def held(payload, step: Step):
        return [len(await step.run("hold", hold)), payload]
"""
