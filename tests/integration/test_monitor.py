"""What the listener of `[monitor]` answers: health, readiness and metrics, to whom, and within which bounds."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tako_lite.daemon.monitor.catalogue import SERIES
from tests.support.backends import Backend
from tests.support.project import Project, wait_until
from tests.support.scrape import exchange, get, monitor_of, parse, scrape
from tests.support.teardown import tear_down

WORKFLOWS = """
    from tako_lite import poll

    @workflow("stepped", worker="media")
    async def stepped(n, step: Step):
        await step.run("one", str, n)
        await step.sleep("nap", 0.01)
        return n

    @workflow("fails", retries=0, worker="mail")
    async def fails(n):
        raise RuntimeError("no")

    @workflow("ends-its-worker", retries=0, worker="mail")
    async def ends(n):
        os._exit(3)

    @workflow("parent", worker="media")
    async def parent(n, step: Step):
        return await step.invoke("child", stepped, n)

    @workflow("tick", schedule="0 4 * * *")
    async def tick(payload): ...

    @workflow("often", schedule="* * * * * *", worker="media")
    async def often(payload): ...

    @workflow("one-by-one", limit=1, worker="held")
    async def one_by_one(payload):
        while not os.path.exists("released"):
            await asyncio.sleep(0.05)

    @poll("inbox", every="1h", starts="stepped", worker="media")
    def inbox(cursor):
        return [], None
"""


@pytest.fixture(scope="module")
def live(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A daemon that listens, with a few runs behind it."""
    made = Project(tmp_path_factory.mktemp("monitored"), backend)
    made.configure('[monitor]\nlisten = "127.0.0.1:0"\ntenants = true\n[workflows.broken]\nworkers = 1\n[tenants.acme]\n')
    made.workflow("a.py", WORKFLOWS)
    made.workflow("broken.py", "raise RuntimeError('no')\n@workflow('broken', worker='broken')\nasync def broken(x): ...\n")
    made.serve()
    made.run("stepped", 1, tenant="acme")
    made.run("parent", 2)
    made.run("fails")
    for _ in range(2):
        made.enqueue("one-by-one", unique_key=None)
        made.enqueue("one-by-one", "known", unique_key="once")
    yield made
    (made.root / "released").touch()
    tear_down(made)
    backend.forget(made.root)


@pytest.fixture(scope="module")
def address(live: Project) -> tuple[str, int]:
    return monitor_of(live)


def test_a_daemon_that_serves_is_healthy_and_ready(address: tuple[str, int]) -> None:
    health = get(address, "/healthz")
    assert (health.status, health.headers["content-type"]) == (200, "application/json")
    assert json.loads(health.body).keys() == {"status", "version", "uptime_s"}
    ready = get(address, "/readyz")
    assert (ready.status, json.loads(ready.body)) == (200, {"ready": True, "reasons": []})


def test_a_group_that_takes_no_work_is_not_ready_and_one_that_does_not_exist_is_not_found(
    live: Project, address: tuple[str, int]
) -> None:
    wait_until(lambda: live.group("broken")["last_error"], "the group failed to start")
    assert get(address, "/readyz?groups=media").status == 200
    broken = get(address, "/readyz?groups=media,broken")
    (reason,) = json.loads(broken.body)["reasons"]
    assert (broken.status, reason["code"]) in ((503, "group_backoff"), (503, "group_unhealthy"))
    assert "RuntimeError: no" in reason["message"]
    live.call("pause", group="media")
    assert [reason["code"] for reason in json.loads(get(address, "/readyz?groups=media").body)["reasons"]] == ["group_paused"]
    live.call("resume", group="media")
    assert get(address, "/readyz?groups=medai").status == 404


def test_what_happened_to_runs_steps_and_workers_is_counted(live: Project, address: tuple[str, int]) -> None:
    found = scrape(address)
    for name, labels, value in (
        ("tako_runs_enqueued_total", {"workflow": "stepped", "source": "client"}, 1),
        ("tako_runs_enqueued_total", {"workflow": "stepped", "source": "step"}, 1),
        ("tako_runs_finished_total", {"group": "media", "workflow": "stepped", "state": "succeeded"}, 2),
        ("tako_runs_finished_total", {"group": "mail", "workflow": "fails", "state": "dead"}, 1),
        ("tako_attempts_total", {"workflow": "fails", "outcome": "failed"}, 1),
        ("tako_run_failures_total", {"workflow": "fails", "state": "dead", "reason": ""}, 1),
        ("tako_tenant_attempts_total", {"tenant": "acme", "outcome": "succeeded"}, 1),
        ("tako_run_execution_seconds_count", {"workflow": "stepped"}, 2),
        ("tako_run_queue_seconds_count", {"group": "mail"}, 1),
        ("tako_steps_total", {"group": "media", "kind": "run", "outcome": "succeeded"}, 2),
        ("tako_steps_total", {"group": "media", "kind": "child", "outcome": "begun"}, 1),
        ("tako_worker_starts_total", {"group": "mail", "cause": "demand"}, 1),
        ("tako_runs", {"group": "mail", "state": "dead"}, 1),
        ("tako_runs_finished_total", {"workflow": "tick", "state": "dead"}, 0),
    ):
        assert (name, labels, found.get_one(name, **labels)) == (name, labels, value)
    assert found.get_one("tako_ready") == found.get_one("tako_up") == 1
    assert found.get_one("tako_schedule_next_timestamp_seconds", schedule="tick") > 0
    assert found.get_one("tako_store_commits_total") > 5


def test_a_crash_is_an_outcome_a_reason_and_the_cause_of_an_exit(live: Project, address: tuple[str, int]) -> None:
    live.run("ends-its-worker")
    found = scrape(address)
    assert found.get_one("tako_attempts_total", workflow="ends-its-worker", outcome="crashed") == 3
    assert found.get_one("tako_run_failures_total", workflow="ends-its-worker", state="dead", reason="crashed") == 1
    assert found.get_one("tako_worker_exits_total", group="mail", cause="crash") == 3


def test_the_format_is_that_of_prometheus_unless_openmetrics_is_accepted(address: tuple[str, int]) -> None:
    plain = get(address, "/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE tako_attempts_total counter\n" in plain.body
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    opened = get(address, "/metrics", Accept=accept)
    assert opened.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "# TYPE tako_attempts counter\n" in opened.body
    assert opened.body.endswith("\n# EOF\n")
    assert parse(opened.body).names == parse(plain.body).names
    assert get(address, "/metrics", Accept="application/openmetrics-text;q=0").headers["content-type"].startswith("text/plain")


def test_the_first_page_names_the_others_and_head_has_no_body(address: tuple[str, int]) -> None:
    page = get(address, "/")
    assert all(path in page.body for path in ("/healthz", "/readyz", "/metrics"))
    head = get(address, "/", method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, "", str(len(page.body)))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2100, 431),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: [::1]:8257\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: my.localhost:8257\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_a_request_that_is_not_for_this_listener_is_refused(address: tuple[str, int], data: bytes, status: int) -> None:
    answer = exchange(address, data)
    assert (answer.status, answer.headers["connection"]) == (status, "close")


def test_a_ninth_request_at_a_time_is_refused_and_the_others_keep_their_place(address: tuple[str, int]) -> None:
    held = [socket.create_connection(address, 10) for _ in range(8)]
    try:
        for client in held:
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
        wait_until(lambda: get(address, "/").status == 503, "there is no room")
        held[0].sendall(b"Host: localhost\r\n\r\n")
        assert b"200 OK" in held[0].recv(65536)
    finally:
        for client in held:
            client.close()
    wait_until(lambda: get(address, "/").status == 200, "there is room again")


def test_reload_applies_a_token_and_moves_the_listener_to_a_socket_of_its_own(project: Project) -> None:
    (project.root / "token").write_text("secret\n")
    project.configure('[monitor]\nlisten = "127.0.0.1:0"\ntoken = "file:token"\nhosts = ["tako", "*.example.com"]\n')
    project.serve()
    address = monitor_of(project)
    assert get(address, "/healthz").status == 401
    assert get(address, "/healthz", Authorization="Bearer secrex").status == 401
    assert get(address, "/healthz", Authorization="Bearer secret").status == 200
    assert get(address, "/", Host="tako:8257", Authorization="Bearer secret").status == 200
    assert get(address, "/", Host="a.example.com", Authorization="Bearer secret").status == 200
    project.configure('[monitor]\nlisten = "unix:monitor.sock"\n')
    project.call("reload")
    path = project.root / "monitor.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert get(str(path), "/readyz", Host="anything").status == 200
    with pytest.raises(ConnectionError):
        get(address, "/healthz")
    project.configure("")
    project.call("reload")
    assert not path.exists()


def test_a_daemon_whose_port_is_taken_says_by_whom_and_works_on(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        project.configure(f'[monitor]\nlisten = "127.0.0.1:{port}"\n')
        project.workflow("a.py", WORKFLOWS)
        project.serve()
        assert project.run("stepped", 1)["result"] == 1
        (warning,) = [line for line in project.status()["warnings"] if "monitor" in line]
        assert f"cannot listen on 127.0.0.1:{port}" in warning and f"(pid {os.getpid()}) listens on it" in warning
        error = warning.removeprefix("[monitor] is not served: ")
        assert error in project.daemon_log()
        assert project.status()["daemon"]["monitor"] == {"address": None, "error": error}
        done = project.command("doctor")
        assert (done.returncode, f"monitor      the daemon answers no health checks and scrapes: {error}" in done.stdout) == (
            1,
            True,
        )
    project.call("reload")
    assert get(("127.0.0.1", port), "/healthz").status == 200
    assert not [line for line in project.status()["warnings"] if "monitor" in line]


def test_the_totals_of_a_minute_are_stored_when_the_daemon_stops(project: Project) -> None:
    project.workflow("a.py", WORKFLOWS)
    project.serve()
    project.run("stepped", 1)
    project.run("fails")
    project.stop()
    query = "SELECT workflow, sum(started), sum(succeeded), sum(failed), sum(dead) FROM minutes GROUP BY workflow ORDER BY 1"
    found = [row for row in project.query(query) if row[0] != "often"]
    assert found == [("fails", 1, 0, 1, 1), ("stepped", 1, 1, 0, 0)]


@pytest.mark.sqlite  # some of them measure the file
def test_the_series_are_those_of_the_table_with_its_labels_and_promtool_accepts_them(
    live: Project, address: tuple[str, int]
) -> None:
    def families() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, labels in scrape(address):
            family = name if name in SERIES else re.sub(r"_(bucket|sum|count)$", "", name)
            found.setdefault(family, set()).update(label for label, _ in labels if label != "le")
        return found

    wait_until(lambda: SERIES.keys() <= families().keys(), f"samples of {SERIES.keys() - families().keys()}", limit=20)
    assert {name: " ".join(sorted(labels)) for name, labels in families().items()} == {
        name: " ".join(sorted(about.labels.split())) for name, about in SERIES.items()
    }
    if shutil.which("promtool") is not None:
        text = get(address, "/metrics").body
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
