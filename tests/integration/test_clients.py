"""Clients in one process and in many, against a real daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tako_lite import AsyncClient, Client
from tako_lite.errors import WaitTimeout
from tests.support.project import Project

QUICK = "@workflow('quick')\nasync def quick(payload):\n    return payload\n"
GATE = "@workflow('gate')\nasync def gate(payload, step: Step):\n    return await step.wait_for(payload)\n"


def test_an_async_client_does_all_that_the_blocking_one_does(live: Project) -> None:
    live.add("quick.py", QUICK + GATE)

    async def use() -> None:
        async with AsyncClient(live.root) as client:
            made = await client.enqueue("quick", [1])
            assert (await client.wait(made.id, timeout="10s"))["result"] == [1]
            assert (await client.get(made.id))["state"] == "succeeded"
            many = await asyncio.gather(*(client.enqueue("quick", n) for n in range(50)))
            ends = await asyncio.gather(*(client.wait(run.id, timeout=10) for run in many))
            assert [run["result"] for run in ends] == list(range(50))
            ids = await client.enqueue_many("quick", ["a", "b"], delay="1h")
            assert await client.cancel(*ids) == dict.fromkeys(ids, "cancelled")
            assert await client.retry(ids[0]) == {ids[0]: "pending"}
            gate = await client.enqueue("gate", "async-gate")
            with pytest.raises(WaitTimeout):
                await client.wait(gate.id, timeout=0.05)
            await client.signal("async-gate", {"open": True})
            assert (await client.wait(gate.id))["result"] == {"open": True}
            assert (await client.status())["daemon"]["server"] == "here"

    asyncio.run(use())


def test_threads_share_one_client_and_it_still_works_after_a_fork(live: Project) -> None:
    live.add("quick.py", QUICK)
    client = Client(live.root)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: client.enqueue("quick", number).id, range(80)))
    assert len(set(made)) == 80
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, client.enqueue("quick", "from the child").id.encode())
        os._exit(0)
    mine = client.enqueue("quick", "from the parent").id
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    assert client.wait(theirs, timeout=10)["result"] == "from the child"
    assert client.wait(mine, timeout=10)["result"] == "from the parent"
    client.close()


def test_runs_are_found_by_an_ending_of_their_id(live: Project) -> None:
    live.add("quick.py", QUICK)
    run_id = live.enqueue("quick", "found")
    live.wait(run_id)
    assert live.get(run_id[-12:])["id"] == run_id
    with live.client() as client:
        assert client.wait(run_id[-12:], timeout=5)["result"] == "found"


def test_waiting_for_a_run_continues_across_the_death_of_the_daemon(project: Project) -> None:
    project.workflow("gate.py", GATE)
    project.serve()
    run_id = project.enqueue("gate", "gate")
    project.wait_for_state(run_id, "waiting")
    ends: list[object] = []
    waiting = threading.Thread(target=lambda: ends.append(project.wait(run_id)["result"]))
    waiting.start()
    project.stop(signal.SIGKILL)
    project.serve()
    project.call("signal", event="gate", payload="opened")
    waiting.join(15)
    assert ends == ["opened"]
