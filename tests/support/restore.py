"""Runs the commands that bring a queue back, in the folder of a project."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.project import Project

WORKFLOWS = """
    @workflow("quick", worker="other")
    async def quick(payload):
        return payload

    @workflow("fails", retries=0)
    async def fails(payload):
        raise ValueError("boom")

    def first():
        witness("first")
        return 7

    def second():
        witness("second")
        while not os.path.exists("go"):
            time.sleep(0.01)

    @workflow("hold")
    async def held(payload, step: Step):
        value = await step.run("first", first)
        await step.run("second", second)
        return value

    @workflow("waits")
    async def waits(payload, step: Step):
        return await step.wait_for(payload)

    @workflow("yearly", schedule="0 0 1 1 *")
    async def yearly(payload):
        return None
"""


def run_commands(project: Project, commands: list[str]) -> None:
    """Have a shell carry out commands in the folder of a project, and fail with the first that fails."""
    project.spoilt = "an older copy takes its place"
    program = project.root / "bin/tako-lite"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tako_lite "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    script = "umask 022; set -ex\n" + "\n".join(commands)
    done = subprocess.run(
        ["sh", "-c", script], cwd=project.root, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
