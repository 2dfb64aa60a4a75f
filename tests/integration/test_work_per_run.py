"""How much work a run costs, counted: a change that adds a transaction, a statement, a frame or a turn of a loop fails.

No figure is a time. On a loaded machine a batch may be divided, because the kernel delivers a part of a frame: so the least of
three measurements counts, and more work for each run shows in all of them. When a change
makes one of these numbers smaller, lower its limit; `pytest -s` prints what was counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Final

import pytest

from tako_lite.client import Client
from tako_lite.worker.link import MANY
from tests.support import counting_daemon
from tests.support.backends import Backend
from tests.support.project import Project
from tests.support.teardown import tear_down
from tests.support.work_counts import Counts, SharedCounts, of

pytestmark = pytest.mark.sqlite

CONCURRENCIES: Final = (1, 10, 100)
BATCHES: Final = {1: 30, 10: 30, 100: 15}
"""How many times the slots of a worker are filled in a drain, by their number."""

ROUND: Final = Counts(
    transactions=1,  # stores how the runs ended and claims the next
    statements=3,  # the claim, whose code is new, what else is due; each run adds one
    turns=5,  # a frame came, claim, commit, commit known, push
    hops=1,
    to_worker=1,
    from_worker=1,
    from_client=0,
    to_client=0,
    worker_turns=3,  # a frame came, handlers, outcomes
)
"""What a worker's report costs, and the push of the runs for the slots that it frees."""
STEP: Final = Counts(
    transactions=1, statements=0, turns=4, hops=1, to_worker=1, from_worker=1, from_client=0, to_client=0, worker_turns=3
)
"""What the same step of runs side by side costs; each of them adds a statement."""
START: Final = Counts(
    transactions=7,
    statements=25,  # also those that store the totals of a minute
    turns=29,
    hops=12,
    to_worker=6,
    from_worker=6,
    from_client=4,
    to_client=4,
    worker_turns=18,
)
"""What a whole drain may add: the group is resumed, the last run waited for. One more of anything a report exceeds it."""

WORKFLOWS: Final = """
from pathlib import Path
from tako_lite import Step, workflow
from tests.support.work_counts import count_work

count_work(Path.cwd(), "worker")

@workflow("work-{concurrency}", worker="work-{concurrency}")
async def work(payload):
    return None

async def nothing(number):
    return number

@workflow("steps-{concurrency}", worker="steps-{concurrency}")
async def steps(payload, step: Step):
    await step.run("first", nothing, 1)
    await step.run("second", nothing, 2)
    await step.run("third", nothing, 3)
"""


class Counted:
    """A project whose daemon has a warm worker for each workflow and concurrency.

    The workflows have groups of their own, because the time that the runs of one take decides how the next are claimed.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        groups = product(("work", "steps"), CONCURRENCIES)
        tables = (f"[workflows.{name}-{number}]\nworkers = 1\nconcurrency = {number}\n" for name, number in groups)
        project.configure("\n".join(tables))
        for number in CONCURRENCIES:
            file = project.root / "workflows" / f"group{number}.py"
            file.write_text(WORKFLOWS.format(concurrency=number))  # without the probe of the tests, which is work as well
        self._counts: SharedCounts = counting_daemon.serve(project)
        for number in CONCURRENCIES:
            project.run(f"work-{number}")
            project.run(f"steps-{number}")

    def during(self, work: Callable[[], object]) -> Counts:
        """What is counted while something is done."""
        before = self._counts.read()
        work()
        found = self._counts.read() - before
        print(found)
        return found

    def excess(self, measure: Callable[[], Counts], limit: Counts) -> dict[str, str]:
        """What is beyond a limit in each of three measurements; nothing as soon as one keeps to it."""
        beyond: dict[str, str] = {}
        for _ in range(3):
            if not (beyond := measure().beyond(limit)):
                break
        return beyond

    def drain(self, workflow: str, concurrency: int) -> Counts:
        """What is counted while runs that are stored already are executed."""
        group = f"{workflow}-{concurrency}"
        with self.project.client() as client:
            client.call("pause", group=group)
            ids = client.enqueue_many(group, [None] * concurrency * BATCHES[concurrency])

            def work() -> None:
                client.call("resume", group=group)
                client.wait(ids[-1], timeout=60)

            return self.during(work)


def reports(cost: Counts, concurrency: int) -> Counts:
    """What the reports of as many runs as a worker has slots cost, if one report costs so much."""
    frames = -(-concurrency // MANY)  # a worker sends what it has after so many items
    return cost * frames if frames == 1 else cost * frames + of(turns=8 * frames, from_worker=4 * frames)


def resume(client: Client, concurrency: int) -> None:
    """Resume a group and have its runs executed, so that no other test counts them."""
    client.call("resume", group=f"work-{concurrency}")
    client.wait(client.enqueue(f"work-{concurrency}").id)


@pytest.fixture(scope="module")
def counted(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    made = Project(tmp_path_factory.mktemp("counted"), backend)
    yield Counted(made)
    assert made.stop() == 0
    tear_down(made)
    backend.forget(made.root)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_runs_that_fit_into_a_worker_share_one_transaction_and_one_frame_each_way(counted: Counted, concurrency: int) -> None:
    batch = reports(ROUND, concurrency) + of(statements=concurrency)

    limit = START + batch * BATCHES[concurrency]
    assert counted.excess(lambda: counted.drain("work", concurrency), limit) == {}


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_each_step_of_runs_side_by_side_adds_one_transaction_and_one_frame_each_way(counted: Counted, concurrency: int) -> None:
    batch = reports(ROUND + STEP * 3, concurrency) + of(statements=4 * concurrency)

    limit = START + batch * BATCHES[concurrency]
    assert counted.excess(lambda: counted.drain("steps", concurrency), limit) == {}


def test_a_lone_enqueue_is_one_request_one_transaction_and_one_statement(counted: Counted) -> None:
    def measure() -> Counts:
        with counted.project.client() as client:
            client.call("pause", group="work-10")
            found = counted.during(lambda: [client.enqueue("work-10") for _ in range(50)])
            resume(client, 10)
        return found

    request = of(transactions=1, statements=1, turns=5, hops=1, from_client=1, to_client=1)
    assert counted.excess(measure, request * 50 + of(statements=25, turns=25)) == {}


def test_a_run_that_a_client_waits_for_is_two_transactions_and_one_frame_each_way(counted: Counted) -> None:
    def measure() -> Counts:
        with counted.project.client() as client:
            return counted.during(lambda: [client.wait(client.enqueue("work-1").id) for _ in range(50)])

    run = of(transactions=2, statements=5, turns=10, hops=2, to_worker=1, from_worker=1, worker_turns=3)
    asked = of(turns=6, hops=2, from_client=2, to_client=2)  # the enqueue and the wait, which reads
    assert counted.excess(measure, (run + asked) * 50 + of(statements=25, turns=25, to_client=1)) == {}


def test_many_runs_of_one_call_share_requests_transactions_and_statements(counted: Counted) -> None:
    def measure() -> Counts:
        with counted.project.client() as client:
            client.call("pause", group="work-100")
            found = counted.during(lambda: client.enqueue_many("work-100", [None] * 2_000))
            resume(client, 100)
        return found

    request = of(transactions=1, statements=1, turns=8, hops=2, from_client=2, to_client=1)  # a long one comes in two parts
    assert counted.excess(measure, request * 2) == {}
