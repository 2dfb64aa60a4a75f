"""`health` and `metrics`: what they say of a daemon that works, of one that does not, and of none."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tako_lite.daemon.monitor.catalogue import SERIES
from tests.support.project import Project, wait_until
from tests.support.scrape import parse

WORKFLOWS = """
    @workflow("quick", worker="media")
    async def quick(n):
        return n
"""


def verdict(project: Project, *arguments: str) -> tuple[int, dict[str, object], list[str]]:
    """The exit code, the document, and the codes of its reasons."""
    done = project.command("health", "--json", *arguments)
    document = json.loads(done.stdout)
    assert done.stderr == ""
    return done.returncode, document, [reason["code"] for reason in document["reasons"]]


def test_health_answers_for_the_daemon_for_groups_and_for_how_long_runs_wait(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    pid = project.serve()
    project.run("quick", 1)
    code, document, codes = verdict(project)
    assert (code, codes, document["healthy"]) == (0, [], True)
    assert document["daemon"] == {"pid": pid, "version": document["daemon"]["version"], "server": "here"}  # type: ignore[index]
    assert verdict(project, "--group", "media", "--max-lag", "5m")[0] == 0
    project.call("pause", group="media")
    project.enqueue("quick", 2)
    assert verdict(project, "--ready")[0] == 0
    assert verdict(project, "--group", "media")[2] == ["group_paused"]
    assert verdict(project, "--max-lag", "0s")[0] == 0  # the runs of a paused group wait on purpose
    unknown = project.command("health", "--group", "medai")
    assert (unknown.returncode, "did you mean `media`?" in unknown.stderr) == (5, True)


def test_a_run_that_waits_longer_than_the_limit_makes_a_daemon_unhealthy(project: Project) -> None:
    project.configure("[workflows.media]\nmax_workers = 1\nconcurrency = 1\n")
    project.workflow(
        "a.py", WORKFLOWS + "    @workflow('held', worker='media')\n    async def held(n): await asyncio.sleep(60)\n"
    )
    project.serve()
    held = project.enqueue("held")
    project.wait_for_state(held, "running")
    project.enqueue("quick", 1)
    wait_until(lambda: verdict(project, "--max-lag", "10ms")[2] == ["lagging"], "the run waits")
    assert verdict(project, "--max-lag", "10m")[0] == 0
    assert verdict(project, "--max-lag", "10ms", "--group", "default")[0] == 0
    text = project.command("health", "--max-lag", "10ms")
    assert (text.returncode, text.stdout.startswith("not healthy: the oldest due run of group media")) == (1, True)


def test_without_a_daemon_health_exits_1_and_starts_none(project: Project) -> None:
    assert verdict(project)[::2] == (1, ["not_running"])
    assert not (project.root / ".tako").exists()


def test_a_daemon_that_is_suspended_is_unhealthy_within_two_seconds(project: Project) -> None:
    project.serve()
    assert project.process is not None
    project.process.send_signal(signal.SIGSTOP)
    try:
        assert verdict(project)[::2] == (1, ["no_answer"])
    finally:
        project.process.send_signal(signal.SIGCONT)


def test_metrics_prints_every_series_and_replaces_a_file_at_once(project: Project, tmp_path: Path) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.run("quick", 1)
    printed = parse(project.command("metrics").stdout)
    assert printed.get_one("tako_runs_finished_total", workflow="quick", state="succeeded") == 1
    document = json.loads(project.command("metrics", "--json").stdout)
    assert document["up"] is True
    assert {family["name"] for family in document["families"]} <= SERIES.keys()
    file = tmp_path / "tako.prom"
    file.write_text("old")
    assert project.command("metrics", "-o", str(file)).stdout == ""
    assert parse(file.read_text()).names >= {"tako_up", "tako_runs"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tako.prom")] == []
    refused = project.command("metrics", "-o", str(tmp_path / "none/tako.prom"))
    assert (refused.returncode, "No such file" in refused.stderr) == (2, True)


@pytest.mark.sqlite
def test_metrics_without_a_daemon_are_those_of_the_queue_file(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.enqueue("quick", 1)
    found = parse(project.command("metrics").stdout)
    assert found.get_one("tako_up") == found.get_one("tako_ready") == 0
    assert found.get_one("tako_runs", group="media", state="due") == 1
    assert found.get_one("tako_queue_file_bytes") > 0
