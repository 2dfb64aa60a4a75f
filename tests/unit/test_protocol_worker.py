"""The link between daemon and worker: the bytes of every frame and item, and that each is taken up at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, get_args, get_type_hints
from unittest.mock import Mock

import pytest

from tako_lite.daemon import link as daemon_end
from tako_lite.daemon.link import WorkerLink
from tako_lite.daemon.outcomes import KINDS, Outcomes
from tako_lite.errors import ProtocolError
from tako_lite.protocol.forkserver import (
    FailedAnswer,
    ForkedAnswer,
    ForkRequest,
    ReadyAnswer,
    ReapedAnswer,
    ReapRequest,
    WorkerTask,
)
from tako_lite.protocol.items import (
    ANSWERED_ALONE,
    ITEMS,
    AddWait,
    CallCommand,
    End,
    EnqueueChild,
    EvaluationEnded,
    FailureFacts,
    HandlerBegun,
    InvokeChild,
    Item,
    Progress,
    RunBailed,
    RunCancelled,
    RunDropped,
    RunFailed,
    RunHeld,
    RunNotImported,
    RunParked,
    RunPostponed,
    RunReleased,
    RunSucceeded,
    SaveStep,
    StepsNotReached,
    read_items,
)
from tako_lite.protocol.worker import (
    Answer,
    AnswersFrame,
    BrokenFrame,
    CancelFrame,
    FilesFrame,
    FromWorker,
    HooksFrame,
    PriorStep,
    PushedRun,
    ReadyFrame,
    Refused,
    ResolvedFrame,
    RunExtra,
    RunFacts,
    StopFrame,
    StoredStep,
    ToWorker,
    read_run,
)
from tako_lite.stamps import FileStamp
from tako_lite.wire import encode_frame
from tako_lite.worker.link import Link

FAILURE: Final = FailureFacts(type="ValueError", message="no", traceback="…")
GOLDEN_ITEMS: Final[dict[Item, str]] = {
    RunSucceeded("ok", "r1", 3, "null"): '["ok","r1",3,"null"]',
    EvaluationEnded("found", "r1", 3, "[[],null]"): '["found","r1",3,"[[],null]"]',
    RunNotImported("broken", "r1", 3, "a.py:1"): '["broken","r1",3,"a.py:1"]',
    RunBailed("bail", "r1", 3, "enough"): '["bail","r1",3,"enough"]',
    RunPostponed("later", "r1", 3, 1.5): '["later","r1",3,1.5]',
    RunParked("parked", "r1", 3, ("nap", "nap#2")): '["parked","r1",3,["nap","nap#2"]]',
    RunHeld("held", "r1", 3, ("a",), ("b",)): '["held","r1",3,["a"],["b"]]',
    StepsNotReached("missed", "r1", 3, ("a",), ()): '["missed","r1",3,["a"],[]]',
    RunReleased("given", "r1", 3): '["given","r1",3]',
    RunCancelled("cancelled", "r1", 3): '["cancelled","r1",3]',
    RunDropped("dropped", "r1", 3): '["dropped","r1",3]',
    SaveStep("step", 7, "r1", 3, "a", "run", "succeeded", '"é"', None, 1, 99): (
        r'["step",7,"r1",3,"a","run","succeeded","\"é\"",null,1,99]'
    ),
    AddWait("wait", 8, "r1", 3, "nap", "sleep", None, 1234): '["wait",8,"r1",3,"nap","sleep",null,1234]',
    HandlerBegun("begun", "r1", 3): '["begun","r1",3]',
    Progress("progress", "r1", 3, 0.5, None): '["progress","r1",3,0.5,null]',
}
UNHASHABLE: Final[list[tuple[Item, str]]] = [
    (
        RunFailed("fail", "r1", 3, FAILURE, True),
        '["fail","r1",3,{"type":"ValueError","message":"no","traceback":"…"},true]',
    ),
    (InvokeChild("invoke", 9, "r1", 3, "c", "child", "1", {"retries": 2}), '["invoke",9,"r1",3,"c","child","1",{"retries":2}]'),
    (EnqueueChild("enqueue", 10, "r1", 3, "c", "other", "1", {}), '["enqueue",10,"r1",3,"c","other","1",{}]'),
    (CallCommand("call", 11, "signal", {"event": "go"}), '["call",11,"signal",{"event":"go"}]'),
]
ALL_ITEMS: Final = [*GOLDEN_ITEMS.items(), *UNHASHABLE]

PLAIN: Final = PushedRun("r1", "a", "workflows.a", 3, 1, None, '{"n":1}', ())
TENANT: Final = PushedRun(
    "r1", "a", "workflows.a", 3, 2, 9.5, "1", [PriorStep("s", "succeeded", "1", 1)], RunExtra("acme", {"K": "v"})
)
RATED: Final = PLAIN._replace(extra=RunExtra(is_rated=True))
CHANGED: Final = PLAIN._replace(extra=RunExtra(changed="hold"))
HOOKED: Final = PLAIN._replace(extra=RunExtra(facts=RunFacts(3, None, None)))
GOLDEN_TO_WORKER: Final[list[tuple[ToWorker, str]]] = [
    (
        {"t": "steps", "id": "r1", "steps": [PriorStep("s", "failed", "{}", 2)]},
        '{"t":"steps","id":"r1","steps":[["s","failed","{}",2]]}',
    ),
    (
        AnswersFrame(
            t="answers",
            answers=[
                Answer(7, StoredStep("succeeded", "1", 1)),
                Answer(8, "waiting"),
                Answer(9, None),
                Answer(10, Refused(error={"type": "bad_input", "message": "no", "hint": None})),
                Answer(11, {"outcomes": {}}),
            ],
        ),
        '{"t":"answers","answers":[[7,["succeeded","1",1]],[8,"waiting"],[9,null],'
        '[10,{"error":{"type":"bad_input","message":"no","hint":null}}],[11,{"outcomes":{}}]]}',
    ),
    (
        ResolvedFrame(t="resolved", id="r1", name="nap", state="succeeded", text="null"),
        '{"t":"resolved","id":"r1","name":"nap","state":"succeeded","text":"null"}',
    ),
    (CancelFrame(t="cancel", id="r1"), '{"t":"cancel","id":"r1"}'),
    (StopFrame(t="stop"), '{"t":"stop"}'),
]
GOLDEN_FROM_WORKER: Final[list[tuple[FromWorker, str]]] = [
    (
        ReadyFrame(t="ready", pid=7, workflows=["a"], files={"/a.py": FileStamp(1, 2, 3)}),
        '{"t":"ready","pid":7,"workflows":["a"],"files":{"/a.py":[1,2,3]}}',
    ),
    (FilesFrame(t="files", files={"/b.py": FileStamp(1, 2, 3)}), '{"t":"files","files":{"/b.py":[1,2,3]}}'),
    (BrokenFrame(t="broken", error="a.py:1: no"), '{"t":"broken","error":"a.py:1: no"}'),
    (HooksFrame(t="hooks"), '{"t":"hooks"}'),
]


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...


class Ends:
    """Both ends of a link, each with what it wrote and the frames that it read."""

    def __init__(self) -> None:
        self.at_daemon: list[Any] = []
        self.at_worker: list[Any] = []
        self.lost: list[str | None] = []
        self.daemon = WorkerLink(self.at_daemon.append, self.lost.append, Mock())
        self.worker = Link(self.at_worker.append, Mock())
        self.from_daemon, self.from_worker = Transport(), Transport()
        self.daemon.connection_made(self.from_daemon)  # type: ignore[arg-type]
        self.worker.connection_made(self.from_worker)  # type: ignore[arg-type]


@pytest.fixture
def ends() -> Iterator[Ends]:
    loop = asyncio.new_event_loop()

    async def make() -> Ends:
        return Ends()

    try:
        yield loop.run_until_complete(make())
    finally:
        loop.close()


def kinds(union: Any, field: str) -> set[str]:
    """The kinds of the members of a union of frames or items."""
    return {get_args(get_type_hints(member)[field])[0] for member in get_args(union)}


def test_every_item_has_its_kind_and_a_golden_line() -> None:
    assert {kind: get_args(get_type_hints(cls)["kind"]) for kind, cls in ITEMS.items()} == {kind: (kind,) for kind in ITEMS}
    assert kinds(Item, "kind") == set(ITEMS) == {item.kind for item, _ in ALL_ITEMS}


@pytest.mark.parametrize(("item", "line"), ALL_ITEMS, ids=[item.kind for item, _ in ALL_ITEMS])
def test_an_item_is_the_list_of_its_fields_and_arrives_as_itself(ends: Ends, item: Item, line: str) -> None:
    ends.worker.send(item)
    ends.worker.flush()
    assert ends.from_worker.data == f'{{"t":"out","items":[{line}]}}\n'.encode()
    ends.daemon.data_received(ends.from_worker.data)
    (frame,) = ends.at_daemon
    (arrived,) = chain(*read_items(frame["items"]))
    assert type(arrived) is type(item)
    assert encode_frame(arrived) == encode_frame(item)
    assert arrived._asdict().keys() == item._asdict().keys()


def test_steps_and_successes_are_separated_from_all_other_items_which_keep_their_order() -> None:
    raw = [["ok", "r1", 1, "1"], ["step", 1], ["given", "r2", 1], ["step", 2], ["bail", "r3", 1, "x"], ["ok", "r4", 1, "1"]]
    items = read_items(raw)
    assert [step.sequence for step in items.steps] == [1, 2]
    assert [item.run_id for item in items.succeeded] == ["r1", "r4"]
    assert [item.kind for item in items.others] == ["given", "bail"]


def test_an_unknown_item_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no item is called 'okay'"):
        read_items([["okay", "r1", 1, "1"]])


def test_the_daemon_takes_up_every_kind_of_item() -> None:
    outcomes = Outcomes(*[Mock()] * 7)
    assert kinds(End, "kind") - {"ok"} == set(outcomes._ends) == set(KINDS)  # those of success share a call of the store
    assert {get_args(get_type_hints(cls)["kind"])[0] for cls in ANSWERED_ALONE} == set(outcomes._requests)
    assert set(ITEMS) == {"ok", "step", "begun", "missed", "progress", *outcomes._ends, *outcomes._requests}


@pytest.mark.parametrize(
    ("run", "row"),
    [
        (PLAIN, r'["r1","a","workflows.a",3,1,null,"{\"n\":1}",[],null]'),
        (TENANT, '["r1","a","workflows.a",3,2,9.5,"1",[["s","succeeded","1",1]],["acme",{"K":"v"},false,null,null]]'),
        (RATED, r'["r1","a","workflows.a",3,1,null,"{\"n\":1}",[],[null,{},true,null,null]]'),
        (HOOKED, r'["r1","a","workflows.a",3,1,null,"{\"n\":1}",[],[null,{},false,[3,null,null],null]]'),
        (CHANGED, r'["r1","a","workflows.a",3,1,null,"{\"n\":1}",[],[null,{},false,null,"hold"]]'),
    ],
    ids=["plain", "tenant", "rated", "hooked", "changed"],
)
def test_a_pushed_run_is_a_list_with_a_list_of_what_only_some_runs_need(ends: Ends, run: PushedRun, row: str) -> None:
    ends.daemon.push([run])
    assert ends.from_daemon.data == f'{{"t":"run","runs":[{row}]}}\n'.encode()
    ends.worker.data_received(ends.from_daemon.data)
    (frame,) = ends.at_worker
    (arrived,) = map(read_run, frame["runs"])
    assert encode_frame(arrived) == encode_frame(run)
    assert [PriorStep(*step) for step in arrived.steps] == [*run.steps]


def test_stored_steps_that_are_too_long_for_the_frame_of_their_run_go_ahead_of_it(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_end, "FRAME_GOAL", 10)
    long = [PriorStep("s1", "succeeded", "x" * 11, 1), PriorStep("s2", "succeeded", None, 1)]
    ends.daemon.push([PLAIN._replace(steps=long), PLAIN._replace(run_id="r2", payload="1")])
    ends.worker.data_received(ends.from_daemon.data)
    first, second, run = ends.at_worker
    assert [first, second] == [{"t": "steps", "id": "r1", "steps": [[*step]]} for step in long]
    assert [(each.run_id, each.steps) for each in map(read_run, run["runs"])] == [("r1", []), ("r2", [])]


@pytest.mark.parametrize(("frame", "line"), GOLDEN_TO_WORKER, ids=[frame["t"] for frame, _ in GOLDEN_TO_WORKER])
def test_a_frame_to_a_worker(ends: Ends, frame: ToWorker, line: str) -> None:
    ends.daemon.send(frame)
    assert ends.from_daemon.data == f"{line}\n".encode()
    ends.worker.data_received(ends.from_daemon.data)
    assert [encode_frame(arrived) for arrived in ends.at_worker] == [encode_frame(frame)]


@pytest.mark.parametrize(("frame", "line"), GOLDEN_FROM_WORKER, ids=[frame["t"] for frame, _ in GOLDEN_FROM_WORKER])
def test_a_frame_from_a_worker(ends: Ends, frame: FromWorker, line: str) -> None:
    ends.worker.say(frame)
    assert ends.from_worker.data == f"{line}\n".encode()
    ends.daemon.data_received(ends.from_worker.data)
    assert [encode_frame(arrived) for arrived in ends.at_daemon] == [encode_frame(frame)]


def test_every_frame_has_a_golden_line() -> None:
    assert kinds(ToWorker, "t") == {"run", *(frame["t"] for frame, _ in GOLDEN_TO_WORKER)}
    assert kinds(FromWorker, "t") == {"out", *(frame["t"] for frame, _ in GOLDEN_FROM_WORKER)}


def test_a_line_that_is_no_frame_is_reported_and_ends_the_link(ends: Ends) -> None:
    ends.daemon.data_received(b"no frame\n")
    assert [reason and reason.startswith("sent invalid data") for reason in ends.lost] == [True]


def test_what_the_daemon_and_a_fork_server_say_to_each_other() -> None:
    task = WorkerTask(
        group="io",
        root="/p",
        package="/p/workflows",
        modules=["a"],
        setup=None,
        teardown=None,
        slots=4,
        beat=2.0,
        drain=10.0,
        withheld={"TOKEN": "smtp"},
    )
    fork = ForkRequest(
        op="fork", name="tako-io", env={"A": "1"}, folder="/p", nice=5, limits={"nofile": 64}, umask=18, task=task
    )
    assert encode_frame(fork) == (
        b'{"op":"fork","name":"tako-io","env":{"A":"1"},"folder":"/p","nice":5,"limits":{"nofile":64},"umask":18,'
        b'"task":{"group":"io","root":"/p","package":"/p/workflows","modules":["a"],"setup":null,"teardown":null,"slots":4,"beat":2.0,"drain":10.0,"withheld":{"TOKEN":"smtp"}}}\n'
    )
    assert encode_frame(ReapRequest(op="reap", pid=7)) == b'{"op":"reap","pid":7}\n'
    assert encode_frame(ReadyAnswer(ready=True, python="3.11.7")) == b'{"ready":true,"python":"3.11.7"}\n'
    assert encode_frame(ForkedAnswer(pid=7)) == b'{"pid":7}\n'
    assert encode_frame(FailedAnswer(error="cannot fork: no")) == b'{"error":"cannot fork: no"}\n'
    assert encode_frame(ReapedAnswer(status=None)) == b'{"status":null}\n'
