"""Clients that are slow, silent or make no sense: each gets its answer or is hung up on, and nobody else notices."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tako_lite.daemon.control import MAX_WAITING
from tests.support.processes import descriptors
from tests.support.project import Project, wait_until
from tests.support.raw_client import SLOW_CLIENTS, connect, read_line

QUICK = "@workflow('quick')\nasync def quick(payload):\n    return payload\n"
REQUEST = b'{"id":1,"command":"status"}\n'


@pytest.fixture
def served(live: Project) -> Iterator[Project]:
    """A project whose daemon must work as before when the test is over, with as many descriptors."""
    live.add("quick.py", QUICK)
    assert live.run("quick", 1)["result"] == 1
    before = descriptors(live)
    yield live
    assert live.run("quick", 2)["result"] == 2
    wait_until(lambda: descriptors(live) <= before, "every descriptor of a client is given back")
    assert "Traceback" not in live.daemon_log()


def test_clients_that_send_half_a_request_delay_no_other_client(served: Project) -> None:
    with ExitStack() as held:
        slow = [held.enter_context(connect(served)) for _ in range(SLOW_CLIENTS)]
        for place in range(len(REQUEST) - 1):
            for client in slow:
                client.send(REQUEST[place : place + 1])
            if place % 9 == 0:
                assert served.run("quick", place)["result"] == place
        for client in slow:
            client.send(b"\n")
        assert ["ok" in read_line(client) for client in slow] == [True] * SLOW_CLIENTS


def test_a_client_that_reads_no_answers_is_paused_and_later_gets_them_in_order(served: Project) -> None:
    requests = b"".join(b'{"id":%d,"command":"status"%s}\n' % (number, b" " * 16_000) for number in range(2_000))
    with connect(served) as client, served.client() as other:
        client.setblocking(False)
        sent, refused = 0, 0
        while refused < 50:
            other.status()  # the daemon has looked at all its sockets once more
            try:
                sent, refused = sent + client.send(requests[sent : sent + 1_000_000]), 0
            except BlockingIOError:
                refused += 1
            assert sent < len(requests), "it took every request of a client that reads nothing"
        assert served.run("quick", "meanwhile")["result"] == "meanwhile"
        client.settimeout(15)
        whole = requests[:sent].count(b"\n")
        assert whole > MAX_WAITING
        answers = client.makefile("rb")
        assert [json.loads(answers.readline())["id"] for _ in range(whole)] == list(range(whole))


NONSENSE = {
    "random": random.Random(5).randbytes(4_000).replace(b"\n", b"") + b"\n",
    "not an object": b"[1,2,3]\n",
    "deep": b'{"command":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "digits": b'{"id":1,"command":"get","run_id":' + b"9" * 5_000 + b"}\n",
    "not a number": b'{"id":NaN,"command":"status"}\n',
    "key twice": b'{"command":"status","command":"status"}\n',
    "surrogate": b'{"command":"\\ud800"}\n',
    "zero byte": b'{"command":"sta\x00tus"}\n',
    "no such command": b'{"id":1,"command":"__init__"}\n',
    "command of another kind": b'{"id":1,"command":{"a":1}}\n',
    "path for an id": b'{"id":1,"command":"get","run_id":"../../etc/passwd"}\n',
    "path for a workflow": b'{"id":1,"command":"enqueue","workflow":"../../x","run_id":"\'; DROP TABLE runs"}\n',
}


@pytest.mark.parametrize("line", NONSENSE.values(), ids=NONSENSE)
def test_a_line_that_makes_no_sense_gets_an_error_and_the_next_request_its_answer(served: Project, line: bytes) -> None:
    with connect(served) as client:
        client.sendall(line + REQUEST)
        assert "error" in read_line(client)
        assert "ok" in read_line(client)


def test_nothing_that_it_starts_listens_on_a_network(served: Project) -> None:
    assert served.process is not None
    group = served.group("default")
    pids = [served.process.pid, served.status()["daemon"]["zygote_pid"], *(worker["pid"] for worker in group["workers"])]
    held = {os.readlink(entry) for pid in pids for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    networks = [Path(f"/proc/{served.process.pid}/net") / kind for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")]
    inodes = {line.split()[9] for file in networks if file.exists() for line in file.read_text().splitlines()[1:]}
    assert len(pids) == 3
    assert [target for target in held if target.startswith("socket:[") and target[8:-1] in inodes] == []


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_client_that_hangs_up_on_a_command_leaves_it_undone_or_done_as_a_whole(project: Project, command: str) -> None:
    project.workflow("a.py", '@workflow("a")\ndef a(): ...\n')
    project.serve()
    dice = random.Random(3)
    for _ in range(15):
        project.call("pause" if command == "resume" else "resume", group="default")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(project.root / ".tako/tako.sock"))
            client.sendall(json.dumps({"id": 1, "command": command, "group": "default"}).encode() + b"\n")
            pause = time.monotonic() + dice.uniform(0, 0.004)
            wait_until(lambda pause=pause: time.monotonic() > pause, "a moment has passed")
        project.call("reload")  # whatever was begun is over
        ((stored,),) = project.query("SELECT paused FROM groups WHERE name = 'default'")
        assert (project.group("default")["state"] == "paused") == bool(stored)
