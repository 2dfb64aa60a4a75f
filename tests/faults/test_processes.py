"""The daemon is short of descriptors, processes, readers, or of its own socket: it says so, holds nobody up, and goes on."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tako_lite.client import Client
from tako_lite.errors import DaemonUnreachable
from tako_lite.linux import read_process
from tests.support.processes import NO_FILE_WATCH, name_of, serve_with, spare
from tests.support.profiles import scaled
from tests.support.project import Project, is_gone, wait_until
from tests.support.runs import STEPS, charged, release

pytestmark = pytest.mark.long

ECHO = """
    @workflow("echo")
    async def echo(payload):
        return payload

    @workflow("other", worker="other")
    async def other(payload):
        return os.getpid()
"""
PLAIN_LOOP = "import sys; sys.modules['uvloop'] = None; from tako_lite.cli.main import main; sys.exit(main(sys.argv[1:]))"
"""Starts the command line as if uvloop were not installed."""
FORK_FAILS = """
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pid_t fork(void) {
    if (access(getenv("LD_FORK_FAILS"), F_OK) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return ((pid_t (*)(void)) dlsym(RTLD_NEXT, "fork"))();
}
"""


def usual(*before: str) -> list[str]:
    return [*before, sys.executable, "-m", "tako_lite", "serve", "--server", "here"]


@pytest.fixture
def connected(project: Project) -> Iterator[Callable[[int], list[socket.socket]]]:
    """Makes clients that ask for nothing."""
    with ExitStack() as stack:

        def connect(count: int) -> list[socket.socket]:
            clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
            for client in clients:
                client.connect(str(project.root / ".tako/tako.sock"))
            return clients

        yield connect


# Descriptors


@pytest.mark.parametrize("loop", [["-m", "tako_lite"], ["-c", PLAIN_LOOP]], ids=["as installed", "without uvloop"])
def test_two_hundred_clients_with_sixty_four_descriptors_do_not_delay_others(
    project: Project, connected: Callable[[int], list[socket.socket]], loop: list[str]
) -> None:
    project.workflow("a.py", ECHO)
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    with (project.root / "daemon.log").open("ab") as log:
        command = [sys.executable, *loop, "serve", "--server", "here"]
        pid = serve_with(project, command, preexec_fn=few, stdout=log, stderr=log)
    clients = connected(200)
    used = read_process(pid).cpu  # type: ignore[union-attr]
    begun = time.monotonic()
    assert project.run("echo", 1)["result"] == 1  # its worker is forked now
    assert is_gone(project.run("other")["result"]) is False
    wait_until(lambda: time.monotonic() - begun > 1, "a second has passed")
    assert read_process(pid).cpu - used < 0.5  # type: ignore[union-attr]
    assert len(os.listdir(f"/proc/{pid}/fd")) < 64
    wait_until(lambda: sum(has_hung_up(client) for client in clients) >= 200 - 24, "the first of them were sent away")
    for client in clients:
        client.close()
    assert project.run("echo", 2)["result"] == 2
    assert "Traceback" not in project.daemon_log()


def has_hung_up(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def unread(client: socket.socket) -> int:
    """The bytes that the other side of a socket has not read yet."""
    return int(struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))[0])


def test_clients_with_open_requests_keep_their_place_and_one_more_client_is_refused(
    project: Project, connected: Callable[[int], list[socket.socket]]
) -> None:
    project.workflow("a.py", STEPS)
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    serve_with(project, usual(), preexec_fn=few, stderr=subprocess.DEVNULL)
    run_id = project.enqueue("two-steps", 1)
    waiting = connected(24)
    for client in waiting:
        client.sendall(b'{"id":1,"command":"wait","run_id":"%s"}\n' % run_id.encode())
        client.settimeout(15)
    wait_until(lambda: not any(unread(client) for client in waiting), "the daemon has all requests")
    with Client(project.root, patience=5) as late, pytest.raises(DaemonUnreachable, match="busy with 24 clients"):
        wait_until(lambda: late.status() is None, "no more fit")
    release(project)
    for client in waiting:
        with client.makefile() as answers:
            assert [('"succeeded"' in answers.readline()) for _ in range(2)] == [False, True]
        client.close()
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)


# Processes


def test_a_group_that_cannot_fork_backs_off_and_says_so_and_starts_once_it_can(project: Project) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, for a fork that fails")
    source, library, fails = project.root / "fork.c", project.root / "fork.so", project.root / "no-more"
    source.write_text("#define _GNU_SOURCE\n" + FORK_FAILS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    project.configure(f'[workflows.default]\nenv = {{ LD_PRELOAD = "{library}", LD_FORK_FAILS = "{fails}" }}\n')
    project.workflow("a.py", ECHO)
    project.serve()
    waiting = spare(project)  # it needs no fork to become a worker
    fails.touch()
    os.kill(waiting, signal.SIGKILL)
    wait_until(lambda: name_of(waiting) == "", "the spare is dead")
    with project.client() as client:
        made = client.enqueue("echo", 1)
    assert "cannot fork" in (made.warning or "")
    assert "Resource temporarily unavailable" in project.group("default")["last_error"]
    assert project.group("default")["state"] in ("backoff", "unhealthy")
    assert project.run("other")["state"] == "succeeded"
    fails.unlink()
    assert project.command("resume", "default").returncode == 0
    assert charged(project.wait(made.id)) == ("succeeded", 1, 0)


# The socket


def test_the_daemon_creates_a_removed_socket_again(project: Project) -> None:
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    project.wait_for_fact("second")
    path = project.root / ".tako/tako.sock"
    path.unlink()
    wait_until(path.exists, "it is there again", 5)
    assert path.stat().st_mode & 0o777 == 0o600
    release(project)
    assert charged(project.wait(run_id)) == ("succeeded", 1, 0)
    path.unlink()
    wait_until(path.exists, "it is there again", 5)
    assert project.run("two-steps", 1)["state"] == "succeeded"
    assert project.stop() == 0
    assert not path.exists()


def test_a_daemon_whose_folder_was_taken_away_gives_way_to_the_next(project: Project) -> None:
    project.spoilt = "the queue is deleted"
    project.workflow("a.py", ECHO)
    first = project.serve()
    assert project.run("echo", 1)["result"] == 1
    shutil.rmtree(project.root / ".tako")
    old, project.process = project.process, None
    assert old is not None
    second = project.serve()
    assert old.wait(10) == 6
    log = project.daemon_log()
    assert f"another daemon (pid {second}) serves this project" in log
    assert log.count("it is made anew") <= 2
    wait_until(lambda: project.run("echo", 2)["result"] == 2, "the second one serves")
    assert is_gone(first)


def test_a_daemon_whose_lock_was_taken_away_takes_it_again(project: Project) -> None:
    project.workflow("a.py", ECHO)
    pid = project.serve()
    lock = project.root / ".tako/daemon.lock"
    for take in (lock.unlink, lambda: (project.root / "other").replace(lock)):
        (project.root / "other").write_text("")
        take()
        wait_until(lambda: lock.exists() and lock.read_text() == f"{pid}\n", "it is there again", 5)
        refused = project.cli("serve")
        assert (refused.returncode, f"pid {pid}" in refused.stderr) == (6, True)
    assert project.run("echo", 1)["result"] == 1


def test_a_folder_in_the_place_of_the_lock_does_not_stop_the_supervision_of_workers(project: Project) -> None:
    project.configure('[workflows]\nheartbeat_timeout = "1s"\n')
    project.workflow("a.py", STEPS)
    project.serve()
    run_id = project.enqueue("two-steps", 1)
    (fact,) = project.wait_for_fact("second")
    lock = project.root / ".tako/daemon.lock"
    lock.unlink()
    lock.mkdir()
    os.kill(fact["pid"], signal.SIGSTOP)
    release(project)
    assert project.wait(run_id)["crashes"] == 1
    assert is_gone(fact["pid"])
    assert "Traceback" not in project.daemon_log()
    lock.rmdir()


def test_a_socket_removed_without_an_event_is_logged_with_the_pid_and_the_fix(
    project: Project,
) -> None:
    project.workflow("a.py", ECHO)
    pid = serve_with(project, [sys.executable, "-c", NO_FILE_WATCH, "serve", "--server", "here"])
    path = project.root / ".tako/tako.sock"
    path.rename(path.with_suffix(".gone"))
    with Client(project.root, patience=0.2) as client, pytest.raises(DaemonUnreachable) as missed:
        client.enqueue("echo")
    assert f"pid {pid}" in missed.value.message and f"kill -HUP {pid}" in (missed.value.hint or "")
    assert f"kill -HUP {pid}" in project.command("doctor").stdout
    os.kill(pid, signal.SIGHUP)
    wait_until(path.exists, "it is there again", 5)
    assert project.run("echo", 1)["result"] == 1


def test_what_stands_in_the_place_of_the_socket_is_left_alone_and_named(project: Project) -> None:
    state = project.root / ".tako"
    state.mkdir(mode=0o700)
    path, elsewhere = state / "tako.sock", state / "mine"
    elsewhere.write_text("mine")
    makers: list[Callable[[], object]] = [
        lambda: path.write_text("mine"),
        lambda: path.symlink_to(elsewhere),
        lambda: path.symlink_to(state / "nowhere"),
    ]
    for make in makers:
        make()
        refused = project.cli("serve", "--server", "here")
        assert refused.returncode == 1
        assert f"{path} is in the way" in refused.stderr and "move it away" in refused.stderr
        assert path.is_symlink() or path.read_text() == "mine"
        path.unlink()
    assert elsewhere.read_text() == "mine"


def test_a_file_that_took_the_place_of_the_socket_survives_the_stop(project: Project) -> None:
    project.serve()
    path = project.root / ".tako/tako.sock"
    mine = project.root / "mine"
    mine.write_text("mine")
    mine.replace(path)
    wait_until(lambda: f"{path} is in the way" in project.daemon_log(), "it is noticed", 5)
    assert project.stop() == 0
    assert path.read_text() == "mine"


def test_a_project_whose_path_is_longer_than_a_socket_may_have_is_served(project: Project) -> None:
    project.spoilt = "its queue is in a folder of its own"
    deep = project.root / ("d" * 100) / ("e" * 100)
    (deep / "workflows").mkdir(parents=True)
    (deep / "tako.toml").write_text('name = "deep"\n')
    (deep / "workflows/a.py").write_text("from tako_lite import workflow\n@workflow('a')\nasync def a():\n    return 1\n")
    process = subprocess.Popen(usual(), cwd=deep, stderr=subprocess.DEVNULL, start_new_session=True)
    project.started.append(process.pid)
    try:
        with Client(deep) as client:
            wait_until(lambda: client.status()["daemon"], "it answers")
            assert client.wait(client.enqueue("a").id, timeout=10)["result"] == 1
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()


# Starts at once


@pytest.mark.full
def test_of_two_daemons_that_start_at_once_the_loser_exits_6_and_names_the_winner(project: Project) -> None:
    for _ in range(scaled(2, 100)):
        pair = [subprocess.Popen(usual(), cwd=project.root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        project.started += [process.pid for process in pair]
        (loser,) = wait_until(lambda pair=pair: [process for process in pair if process.poll() is not None], "one gave up")
        (winner,) = [process for process in pair if process is not loser]
        assert loser.returncode == 6
        assert f"pid {winner.pid}" in loser.communicate()[1]
        winner.kill()  # leaves its lock's file, with its pid
        winner.communicate()


# Its own output


def test_a_daemon_without_standard_streams_serves(project: Project) -> None:
    project.workflow("a.py", ECHO)
    pid = serve_with(project, ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *usual()])
    assert project.run("echo", 1)["result"] == 1
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == [os.devnull] * 3
    assert project.stop() == 0


def test_a_daemon_whose_output_is_full_serves(project: Project) -> None:
    project.workflow("a.py", ECHO)
    with Path("/dev/full").open("wb") as full:
        serve_with(project, usual(), stdout=full, stderr=full)
    assert project.run("echo", 1)["result"] == 1
    assert project.stop() == 0


def test_a_stalled_reader_of_the_log_does_not_block_the_daemon_and_learns_what_it_missed(project: Project) -> None:
    project.workflow("a.py", ECHO + "\n    @workflow('dies')\n    async def dies(payload):\n        os._exit(7)\n")
    project.configure("[workflows]\nmax_crashes = 2\n")
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while os.write(writing, b"." * 1024):
            pass
    os.set_blocking(writing, True)
    serve_with(project, usual(), stderr=writing)
    assert project.run("dies")["error"]["reason"] == "crashed"
    assert project.run("echo", 1)["result"] == 1
    assert os.read(reading, 4096).strip(b".") == b""
    os.kill(project.started[-1], signal.SIGHUP)
    os.set_blocking(reading, False)
    said = wait_until(lambda: read_some(reading), "it says something")
    assert b" 4 lines were dropped: " in said, said
    assert project.stop() == 0
    os.close(reading)
    os.close(writing)


def read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""
