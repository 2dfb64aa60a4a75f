"""Clients against a small real server on the socket, which speaks the protocol or breaks it on purpose."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tako_lite import client as package
from tako_lite.client import AsyncClient, Client, default_async_client, default_client, use_link
from tako_lite.errors import BadInput, DaemonUnreachable, NotFound, NotJson, ProtocolError, StorageFull, TooLarge, WaitTimeout
from tako_lite.lock import daemon_lock
from tako_lite.records import new_id

ROOT = Path(__file__).resolve().parents[2]
HELLO = {"hello": "tako-lite", "version": "0.1.0", "protocol": 1, "pid": 1, "server": "lax"}
CUT = object()
"""An answer that is none: the connection is closed."""

Request = dict[str, Any]
Answer = Callable[[Request], Any]


class Server:
    """A daemon as far as a client can see: it holds the lock, greets, and answers each request in its turn."""

    def __init__(self, state_dir: Path, answer: Answer, hello: object = HELLO, refusal: Request | None = None) -> None:
        """With a `refusal`, it reads nothing of a client, and says why."""
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.requests: list[Request] = []
        self.clients: list[socket.socket] = []
        self._answer = answer
        self._hello = hello
        self._refusal = refusal
        self._lock = daemon_lock(state_dir)
        assert self._lock.acquire(5)
        self._folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
        self._path = f"/proc/self/fd/{self._folder}/tako.sock"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self._path)
        self._listening.listen(128)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.clients.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(ConnectionError), client, client.makefile("rb") as lines:
            if self._refusal is not None:
                client.shutdown(socket.SHUT_RD)
                client.sendall(json.dumps(self._hello).encode() + b"\n" + _line({"id": None}, self._refusal))
                return
            client.sendall(json.dumps(self._hello).encode() + b"\n")
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                answer = self._answer(request)
                if answer is CUT:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer if isinstance(answer, bytes) else _line(request, answer))

    def hang_up(self) -> None:
        """Close every connection, and go on listening."""
        for client in self.clients:
            with suppress(OSError):  # it may be gone already
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join()
        self.hang_up()
        Path(self._path).unlink()
        os.close(self._folder)
        self._lock.release()

    def commands(self) -> list[str]:
        return [request["command"] for request in self.requests]


def _line(request: Request, answer: Any) -> bytes:
    reply = answer if isinstance(answer, dict) and "error" in answer else {"ok": answer}
    return json.dumps({"id": request["id"], **reply}).encode() + b"\n"


def stored(request: Request) -> Any:
    """What a daemon answers that stores everything."""
    if request["command"] == "enqueue":
        return {"id": request["run_id"], "state": "pending", "group": "g", "deduplicated": False, "warning": None}
    if request["command"] == "enqueue_many":
        return {"ids": request["run_ids"], "warning": None}
    if request["command"] in ("get", "wait"):
        return {"run": {"id": request["run_id"], "state": "succeeded", "result": 5}}
    return {}


def first(answer: Any, then: Answer = stored) -> Answer:
    """One answer for the first request, another way for the rest."""
    answers = [answer]
    return lambda request: answers.pop() if answers else then(request)


def refused(type: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"type": type, "message": message, "hint": "a hint"}}


Serve = Callable[..., Server]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tako.toml").touch()
    return tmp_path


@pytest.fixture
def serve(project: Path) -> Iterator[Serve]:
    servers: list[Server] = []

    def start(answer: Answer = stored, **more: Any) -> Server:
        servers.append(Server(project / ".tako", answer, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def client(project: Path) -> Iterator[Client]:
    with Client(project) as made:
        yield made


@pytest.fixture
def impatient(project: Path) -> Iterator[Client]:
    with Client(project, patience="100ms") as made:
        yield made


# what is sent


def test_an_enqueue_is_one_frame_with_an_id_and_only_what_was_given(client: Client, serve: Serve) -> None:
    server = serve()
    made = client.enqueue("w", {"a": [1, None]}, delay="1m", priority=3)
    assert server.requests == [
        {"id": 1, "command": "enqueue", "workflow": "w", "delay": 60.0, "priority": 3, "run_id": made.id,
         "payload": {"a": [1, None]}}
    ]  # fmt: skip
    assert (made.group, made.warning, made.deduplicated) == ("g", None, False)


def test_requests_share_a_connection_and_are_numbered(client: Client, serve: Serve) -> None:
    server = serve()
    for _ in range(3):
        client.enqueue("w")
    assert [request["id"] for request in server.requests] == [1, 2, 3]
    assert len(server.clients) == 1


@pytest.mark.parametrize(
    ("hello", "named"), [({**HELLO, "takes_by": True}, {"by": {"source": "admin-panel"}}), (HELLO, {})], ids=["this", "older"]
)
def test_a_request_names_its_source_unless_the_daemon_is_of_an_older_release(
    project: Path, serve: Serve, hello: object, named: dict[str, object]
) -> None:
    server = serve(hello=hello)
    with Client(project, source="admin-panel") as client:
        client.call("pause", group="g")
    assert server.requests == [{"id": 1, "command": "pause", "group": "g", **named}]


@pytest.mark.parametrize("source", ["", "two words", 'a"b', "x" * 33])
def test_a_source_is_one_short_word(project: Path, source: str) -> None:
    with pytest.raises(BadInput, match="is no source for a client"):
        Client(project, source=source)


def test_arguments_of_a_call_that_are_none_are_left_out(client: Client, serve: Serve) -> None:
    server = serve()
    client.call("runs", workflow="w", group=None)
    client.call("scale", group="g", workers=None)
    client.call("signal", event="e")
    assert server.requests == [
        {"id": 1, "command": "runs", "workflow": "w"},
        {"id": 2, "command": "scale", "group": "g"},
        {"id": 3, "command": "signal", "event": "e", "payload": None},
    ]


def test_an_ending_is_resolved_before_it_is_asked_for(client: Client, serve: Serve) -> None:
    id = new_id()
    server = serve(lambda request: {"id": id} if request["command"] == "find" else stored(request))
    assert client.get(id[-8:])["id"] == id
    assert client.wait(id.upper())["result"] == 5
    assert server.commands() == ["find", "get", "wait"]


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"x", NotJson), (float("nan"), NotJson), ("\ud800", NotJson), ("x" * 2_000_000, TooLarge), (object(), NotJson)],
    ids=["bytes", "nan", "surrogate", "large", "object"],
)
def test_a_payload_that_cannot_be_is_refused_before_anything_is_sent(
    client: Client, serve: Serve, payload: Any, error: type[BadInput]
) -> None:
    server = serve()
    with pytest.raises(error, match="payload"):
        client.enqueue("w", payload)
    with pytest.raises(error, match="payload"):
        client.call("enqueue", workflow="w", payload=payload)
    assert server.requests == []


def test_a_dataclass_is_sent_as_the_object_that_the_handles_make_of_it(client: Client, serve: Serve) -> None:
    @dataclass
    class Job:
        key: str

    server = serve()
    client.enqueue_many("w", [Job("a"), Job("b")])
    assert server.requests[0]["payloads"] == [{"key": "a"}, {"key": "b"}]


# many


def test_many_payloads_are_cut_by_number_and_by_size(client: Client, serve: Serve) -> None:
    server = serve()
    payloads = [*range(1_500), "ü" * 400_000, "ü" * 400_000, "x"]
    ids = client.enqueue_many("w", payloads, worker="g")
    assert [len(request["payloads"]) for request in server.requests] == [1000, 501, 2]
    assert [payload for request in server.requests for payload in request["payloads"]] == payloads
    assert ids == [id for request in server.requests for id in request["run_ids"]]
    assert ids == sorted(ids)
    assert {request["worker"] for request in server.requests} == {"g"}
    assert len(server.clients) == 1


def test_the_next_part_is_sent_before_the_reply_to_the_last(client: Client, serve: Serve) -> None:
    second = threading.Event()

    def payloads() -> Iterator[int]:
        yield from range(2_000)
        second.set()

    def answer(request: Request) -> Any:
        assert second.wait(20)
        return stored(request)

    serve(answer)
    assert len(client.enqueue_many("w", payloads())) == 2_000


@pytest.mark.parametrize("cut_at", [1, 2, 3])
def test_a_cut_among_many_sends_the_parts_without_a_reply_again(client: Client, serve: Serve, cut_at: int) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Any:
        seen.append(request)
        return CUT if len(seen) == cut_at else stored(request)

    serve(answer)
    ids = client.enqueue_many("w", range(4_000))
    assert len(ids) == len(set(ids)) == 4_000
    assert {id for request in seen for id in request["run_ids"]} == set(ids)


def test_a_refusal_among_many_says_what_was_stored(client: Client, serve: Serve) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Any:
        seen.append(request)
        return refused("storage_full") if len(seen) == 3 else stored(request)

    serve(answer)
    with pytest.raises(StorageFull, match="no") as error:
        client.enqueue_many("w", range(3_000))
    assert (error.value.hint or "").startswith("a hint; 2,000 of the payloads before are stored")


# replies


def test_errors_come_back_as_the_exceptions_they_were(client: Client, serve: Serve) -> None:
    serve(lambda request: refused("unknown_workflow", "there is no workflow 'w'"))
    with pytest.raises(NotFound, match="there is no workflow 'w'") as error:
        client.enqueue("w")
    assert (error.value.type, error.value.exit_code, error.value.hint) == ("unknown_workflow", 5, "a hint")


def test_a_wait_that_took_too_long_is_a_time_out(client: Client, serve: Serve) -> None:
    serve(lambda request: refused("wait_timeout"))
    with pytest.raises(WaitTimeout):
        client.wait(new_id(), timeout=1)


def test_a_run_that_died_is_returned_by_wait(client: Client, serve: Serve) -> None:
    serve(lambda request: {"run": {"state": "dead", "error": {"type": "ValueError"}}})
    assert client.wait(new_id())["error"] == {"type": "ValueError"}


def test_a_long_reply_is_read_whole(client: Client, serve: Serve) -> None:
    text = "x" * 5_000_000
    serve(lambda request: {"runs": [text]})
    assert client.call("runs") == {"runs": [text]}


@pytest.mark.parametrize(
    ("hello", "message"),
    [({**HELLO, "protocol": 2, "version": "9.9"}, "version 9.9 and speaks protocol 2"), ({"hello": "you"}, "not a daemon")],
)
def test_another_protocol_is_refused(client: Client, serve: Serve, hello: object, message: str) -> None:
    serve(hello=hello)
    with pytest.raises(ProtocolError, match=message):
        client.enqueue("w")


@pytest.mark.parametrize(
    "reply",
    [b"\xff\n", b"{\n", b"[]\n", b'{"id":7,"ok":{}}\n', b'{"id":1}\n', b'{"id":1,"ok":[]}\n'],
)
def test_a_reply_that_makes_no_sense_is_a_protocol_error(client: Client, serve: Serve, reply: bytes) -> None:
    serve(lambda request: reply)
    with pytest.raises(ProtocolError):
        client.status()


def test_a_refusal_without_a_number_is_the_answer(client: Client, serve: Serve) -> None:
    serve(lambda request: b'{"id":null,"error":{"type":"protocol","message":"too long","hint":null}}\n')
    with pytest.raises(ProtocolError, match="too long"):
        client.status()


@pytest.mark.parametrize(
    "ask",
    [Client.status, lambda client: client.enqueue("w"), lambda client: client.enqueue_many("w", [1])],
    ids=["status", "enqueue", "enqueue_many"],
)
def test_a_daemon_that_refuses_a_client_before_its_request_says_why(
    impatient: Client, serve: Serve, ask: Callable[[Client], object]
) -> None:
    serve(refusal=refused("daemon_unreachable", "busy"))
    with pytest.raises(DaemonUnreachable, match=r"^busy$"):
        ask(impatient)


# broken connections


def test_after_a_lost_reply_the_same_id_is_sent_again_and_the_run_is_ours(client: Client, serve: Serve) -> None:
    server = serve(first(CUT, lambda request: {**stored(request), "deduplicated": True}))
    made = client.enqueue("w", 1)
    assert [request["run_id"] for request in server.requests] == [made.id] * 2
    assert made.deduplicated is False


def test_an_id_of_the_callers_stays_deduplicated(client: Client, serve: Serve) -> None:
    serve(first(CUT, lambda request: {**stored(request), "deduplicated": True}))
    assert client.enqueue("w", id=new_id()).deduplicated is True


def test_a_connection_that_the_daemon_closed_while_idle_is_not_used(client: Client, serve: Serve) -> None:
    server = serve()
    client.enqueue("w")
    server.hang_up()
    client.enqueue("w")
    assert server.commands() == ["enqueue", "enqueue"]
    assert len(server.clients) == 2


def test_when_every_reply_is_lost_the_error_names_the_run(impatient: Client, serve: Serve) -> None:
    server = serve(lambda request: CUT)
    with pytest.raises(DaemonUnreachable, match="unknown whether run") as error:
        impatient.enqueue("w")
    (id,) = {request["run_id"] for request in server.requests}
    assert len(server.requests) > 1
    assert id in error.value.message
    assert f"id={id}" in (error.value.hint or "")


def test_what_makes_a_new_run_each_time_is_sent_once(client: Client, serve: Serve) -> None:
    server = serve(lambda request: CUT)
    with pytest.raises(DaemonUnreachable, match="unknown whether"):
        client.call("run_schedule", workflow="w")
    assert len(server.requests) == 1


def test_a_wait_continues_at_the_next_daemon(client: Client, serve: Serve) -> None:
    server = serve(first(CUT))
    assert client.wait(new_id(), timeout=60)["state"] == "succeeded"
    assert server.commands() == ["wait", "wait"]
    assert 0 < server.requests[1]["timeout"] <= server.requests[0]["timeout"] <= 60


def test_a_silent_daemon_is_given_up(client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    serve(lambda request: CUT if over.wait(20) else None)
    monkeypatch.setattr("tako_lite.client.transport.REPLY_LIMIT", 0.05)
    try:
        with pytest.raises(DaemonUnreachable, match="did not answer for 50ms"):
            client.status()
    finally:
        over.set()


def test_after_the_daemon_is_gone_the_same_id_goes_to_the_file(client: Client, project: Path) -> None:
    (project / "workflows").mkdir()
    (project / "workflows" / "w.py").write_text("from tako_lite import workflow\n@workflow('w')\ndef w(p): ...\n")
    replied = threading.Event()

    def answer(request: Request) -> Any:
        replied.set()
        return CUT

    server = Server(project / ".tako", answer)
    with ThreadPoolExecutor(1) as threads:
        enqueueing = threads.submit(client.enqueue, "w")
        assert replied.wait(20)
        server.stop()
        made = enqueueing.result()
    assert made.warning is not None
    assert {request["run_id"] for request in server.requests} == {made.id}
    assert client.get(made.id)["state"] == "pending"


def test_a_stale_socket_is_no_daemon(client: Client, project: Path) -> None:
    (project / ".tako").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(project / ".tako" / "tako.sock"))
    assert client.status()["daemon"] is None


def test_a_socket_path_longer_than_the_kernel_takes_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "e"
    deep.mkdir(parents=True)
    (deep / "tako.toml").touch()
    server = Server(deep / ".tako", stored)
    with Client(deep) as client:
        assert client.enqueue("w").group == "g"
    server.stop()


# threads and processes


def test_threads_share_a_client_and_never_a_reply(client: Client, serve: Serve) -> None:
    serve(lambda request: {"echo": request["n"]})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: client.call("echo", n=n), range(200)))
    assert answers == [{"echo": n} for n in range(200)]


def test_a_wait_does_not_hold_up_other_requests(client: Client, serve: Serve) -> None:
    ended = threading.Event()

    def answer(request: Request) -> Any:
        if request["command"] == "wait":
            assert ended.wait(20)
        return stored(request)

    serve(answer)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, new_id())
        client.enqueue("w")
        ended.set()
        assert waiting.result()["result"] == 5


def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_alone(client: Client, serve: Serve) -> None:
    server = serve()
    client.enqueue("w", "parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            client.enqueue("w", "child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.enqueue("w", "parent again")
    assert [(request["payload"], request["id"]) for request in server.requests] == [
        ("parent", 1),
        ("child", 1),
        ("parent again", 2),
    ]


def test_a_client_that_was_forgotten_leaves_no_socket(project: Path, serve: Serve) -> None:
    serve()
    client = Client(project)
    client.enqueue("w")
    del client
    gc.collect()  # an unclosed socket is a warning, and so a failure here


def test_a_closed_client_can_be_used_again(client: Client, serve: Serve) -> None:
    server = serve()
    client.enqueue("w")
    client.close()
    client.close()
    client.enqueue("w")
    assert len(server.clients) == 2


# asyncio


def test_asyncio_requests_share_a_few_connections(project: Path, serve: Serve) -> None:
    server = serve(lambda request: {"echo": request["n"]})

    async def everything() -> None:
        async with AsyncClient(project) as client:
            answers = await asyncio.gather(*(client.call("echo", n=n) for n in range(300)))
            assert answers == [{"echo": n} for n in range(300)]

    asyncio.run(everything())
    assert len(server.clients) <= 16


def test_one_asyncio_client_works_in_one_loop_after_the_other(project: Path, serve: Serve) -> None:
    serve()
    client = AsyncClient(project)
    ids = [asyncio.run(client.enqueue("w", n)).id for n in range(3)]
    assert len(set(ids)) == 3
    assert len(asyncio.run(client.enqueue_many("w", range(3_000)))) == 3_000
    asyncio.run(client.close())


def test_a_cancelled_request_leaves_no_reply_for_the_next(project: Path, serve: Serve) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> Any:
        if request["n"] == 0:
            asked.set()
            assert go_on.wait(20)
        return {"echo": request["n"]}

    serve(answer)

    async def everything() -> None:
        async with AsyncClient(project) as client:
            task = asyncio.create_task(client.call("echo", n=0))
            await asyncio.to_thread(asked.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            assert await client.call("echo", n=1) == {"echo": 1}

    asyncio.run(everything())


# the link of a worker


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    for default in (package.default_client, package.default_async_client):
        default.cache_clear()
    asked: list[tuple[str, dict[str, Any]]] = []

    async def sender(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append((command, arguments))
        return {**stored({"command": command, **arguments})}

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    use_link(sender, loop)
    yield asked
    use_link(None)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_handles_enqueue_through_the_link(link: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from tako_lite.workflow import workflow

    @workflow("w")
    def w(payload: Any) -> None: ...

    made = w.enqueue({"a": 1}, priority=2)
    assert link == [("enqueue", {"workflow": "w", "priority": 2, "run_id": made.id, "payload": {"a": 1}})]
    again = asyncio.run(w.aenqueue(2))
    assert link[1][1]["run_id"] == again.id
    assert len(default_client().enqueue_many("w", range(1_500))) == 1_500
    assert [len(arguments["payloads"]) for _, arguments in link[2:]] == [1000, 500]
    assert default_client().wait(made.id)["result"] == 5
    assert default_client() is default_client()
    assert default_async_client() is default_async_client()


def test_a_client_with_a_project_of_its_own_uses_no_link(link: list[Any], client: Client, serve: Serve) -> None:
    server = serve()
    client.enqueue("w")
    assert (link, server.commands()) == ([], ["enqueue"])


def test_a_blocking_call_in_the_loop_of_the_worker_is_refused() -> None:
    async def sender(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return stored({"command": command, **arguments})  # type: ignore[no-any-return]

    async def handler() -> None:
        use_link(sender, asyncio.get_running_loop())
        try:
            with pytest.raises(BadInput, match="wait for itself forever"):
                Client().enqueue("w")
            assert (await AsyncClient().enqueue("w")).group == "g"
        finally:
            use_link(None)

    asyncio.run(handler())


def test_a_child_that_a_handler_forks_does_not_use_the_link(link: list[Any]) -> None:
    child = os.fork()
    if child == 0:
        from tako_lite.client.link import current

        os._exit(0 if current() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# start-up


def test_a_client_of_a_running_daemon_loads_nothing_that_it_does_not_need(project: Path, serve: Serve) -> None:
    serve()
    heavy = ("asyncio", "anyio", "aiosqlite", "rich", "sqlite3", "tako_lite.catalog", "tako_lite.store")
    program = (
        "import sys; from tako_lite.client import Client\n"
        f"with Client({str(project)!r}) as client: client.enqueue('w', {{'a': 1}})\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_that_enqueues_nothing_loads_no_client() -> None:
    program = "import sys, tako_lite.client; print([name for name in sys.modules if name.startswith('tako_lite.client')])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tako_lite.client.link', 'tako_lite.client']"
