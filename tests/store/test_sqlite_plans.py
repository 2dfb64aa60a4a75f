"""Every hot statement is answered from the index that was made for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tako_lite.states import RUN_STATES, RunState
from tako_lite.store import reading
from tako_lite.store.base import Completed, Limit, RunFilter
from tako_lite.store.sqlite import queries
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import SqliteSnapshot as Snapshot
from tako_lite.store.sqlite.transaction import SqliteTransaction as Transaction
from tako_lite.store.transitions import runs

BY_ID = "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)"
OF_KEY = "workflow=? AND limit_key=? AND state=? AND ready=? AND hold=?"
OF_RATE = "workflow=? AND rate_key=? AND hold=?"
BY_ROW = "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"

STATEMENTS = {
    f"{file}.{name}": statement
    for file in (
        "activity",
        "attempts",
        "code",
        "edits",
        "groups",
        "limits",
        "minutes",
        "runs",
        "schedules",
        "signals",
        "steps",
        "triggers",
    )
    for name, statement in vars(getattr(queries, file)).items()
}

PLANS = {
    "attempts.select": ["SEARCH attempts USING PRIMARY KEY (run_id=?)"],
    "attempts.delete_oldest": ["SEARCH attempts USING PRIMARY KEY (run_id=? AND claim_token<?)"],
    "attempts.record_success": [BY_ID, "SEARCH attempts USING PRIMARY KEY (run_id=?)"],
    "minutes.find": ["SEARCH minutes USING PRIMARY KEY (minute=? AND worker_group=? AND workflow=?)"],
    "minutes.select": ["SEARCH minutes USING PRIMARY KEY (minute>? AND minute<?)"],
    "activity.select": ["SEARCH activity USING PRIMARY KEY (id<?)"],
    "activity.delete_expired": ["SEARCH activity USING PRIMARY KEY (id<?)"],
    "runs.select_repeats": ["SEARCH runs USING INDEX runs_again (again_of=?)"],
    "edits.edit": [BY_ID],
    "edits.run_now": [BY_ID],
    "edits.move": [BY_ID],
    "runs.claim": [
        BY_ROW,
        "SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)",
        "SEARCH code USING PRIMARY KEY (server=? AND workflow=?)",
    ],
    "runs.has_due": ["SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)"],
    "runs.mark_due": [BY_ROW, "SEARCH runs USING INDEX runs_later (run_at<?)"],
    "runs.next_due": ["SEARCH runs USING INDEX runs_later"],
    "runs.find": [BY_ID],
    "runs.find_by_unique_key": ["SEARCH runs USING INDEX runs_unique_key (workflow=? AND unique_key=?)"],
    "runs.complete": [BY_ID],
    "runs.reschedule": [BY_ID],
    "runs.finish": [BY_ID],
    "runs.requeue": [BY_ID],
    "runs.charge_crash": [BY_ID],
    "runs.end_crashed": [BY_ID],
    "runs.is_claimed": [BY_ID],
    "runs.park": [BY_ID],
    "runs.wake": [BY_ID],
    "runs.cancel": [BY_ID],
    "runs.retry": [BY_ID],
    "runs.release_held": [
        BY_ROW,
        "SEARCH runs USING INDEX runs_ready (worker_group>?)",
        "SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)",
    ],
    "groups.move_runs": [BY_ROW, "runs_ready (worker_group=?)", "runs_running (worker_group=?", "runs_waiting (worker_group=?"],
    "runs.count_ahead": ["SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=? AND due_order<?)"],
    "runs.select_orphans": ["runs_running"],
    "runs.groups_with_work": ["runs_ready"],
    "runs.count_held_by_group": ["SEARCH runs USING INDEX runs_ready (worker_group=? AND hold>?)"],
    "runs.groups_with_suspects": ["runs_ready"],
    "runs.count_queued_by_workflow": ["INDEX runs_ready", "INDEX runs_later", "INDEX runs_waiting"],
    "runs.delete_expired": [BY_ROW, "runs_finished (state=? AND finished_at<?)"],
    "runs.oldest_finished": ["INDEX runs_finished (state=?"],
    "limits.count_running": ["SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=?)"],
    "limits.count_admitted": [
        "SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=?)",
        "SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=? AND ready=?)",
    ],
    "limits.unclaim": [BY_ID],
    "limits.hold_key": [BY_ROW, f"SEARCH runs USING INDEX runs_limited ({OF_KEY} AND worker_group=?)"],
    "limits.hold_rate": [BY_ROW, f"SEARCH runs USING INDEX runs_rated ({OF_RATE} AND worker_group=?)"],
    "limits.groups_of_rate": [
        f"SEARCH runs USING INDEX runs_rated ({OF_RATE})",
        f"SEARCH runs USING INDEX runs_rated ({OF_RATE} AND worker_group>?)",
    ],
    "limits.rate_keys_held": ["SEARCH runs USING INDEX runs_rated (workflow=? AND rate_key>?)"],
    "limits.groups_of_key": [
        f"SEARCH runs USING INDEX runs_limited ({OF_KEY})",
        f"SEARCH runs USING INDEX runs_limited ({OF_KEY} AND worker_group>?)",
    ],
    "limits.groups_of_all": [
        "SEARCH runs USING INDEX runs_paced (workflow=? AND hold=?)",
        "SEARCH runs USING INDEX runs_paced (workflow=? AND hold=? AND worker_group>?)",
    ],
    "limits.release_key": [BY_ROW, f"SEARCH runs USING INDEX runs_limited ({OF_KEY} AND worker_group=?)"],
    "limits.release_rate": [BY_ROW, f"SEARCH runs USING INDEX runs_rated ({OF_RATE} AND worker_group=?)"],
    "limits.select_keys": [BY_ID],
    "limits.select_keys_of_many": [BY_ID],
    "limits.release_held": [BY_ROW, "SEARCH runs USING INDEX runs_paced (workflow=? AND hold=? AND worker_group=?)"],
    "limits.workflows_held": ["SEARCH runs USING INDEX runs_held", "SEARCH runs USING INDEX runs_held (workflow>?)"],
    "limits.keys_held": ["SEARCH runs USING INDEX runs_held (workflow=?)", f"SEARCH runs USING INDEX runs_limited ({OF_KEY})"],
    "limits.is_any_held": ["runs_held"],
    "limits.select_running": ["runs_running"],
    "limits.count_starts": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>?)"],
    "limits.find_start": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>?)"],
    "limits.drop_starts": ["SEARCH starts USING INDEX starts_at (workflow=? AND at<?)"],
    "limits.clamp_future_starts": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>? AND at<?)"],
    "limits.record_start": ["SEARCH starts USING INDEX starts_"],
    "limits.drop_expected_start": ["SEARCH starts USING INDEX starts_"],
    "limits.is_any_start_expected": ["starts_expected"],
    "limits.find_pace": ["SEARCH paces USING PRIMARY KEY (workflow=? AND key=?)"],
    "limits.drop_paces": ["SEARCH paces USING INDEX paces_even (workflow=? AND even_at<?)"],
    "limits.select_due_paces": ["SEARCH paces USING INDEX paces_free (free_at<?)"],
    "limits.next_free_at": ["SEARCH paces USING INDEX paces_free"],
    "steps.save": [BY_ID],
    "steps.find": ["SEARCH steps USING PRIMARY KEY (run_id=? AND name=?)"],
    "steps.select_for_worker": ["SEARCH steps USING PRIMARY KEY (run_id=?)"],
    "steps.select_having_steps": ["SEARCH steps USING PRIMARY KEY (run_id=?)"],
    "steps.find_wait": ["SEARCH waits USING PRIMARY KEY (run_id=? AND name=?)"],
    "steps.select_waits_for": ["SEARCH waits USING INDEX waits_key (kind=? AND key=?)"],
    "steps.select_due_waits": ["SEARCH waits USING INDEX waits_due (wake_at<?)"],
    "steps.next_wake_at": ["INDEX waits_due"],
    "steps.delete_waits": ["SEARCH waits USING PRIMARY KEY (run_id=?)"],
    "steps.find_outcome": [BY_ID],
    "steps.delete_large": ["SEARCH large_values USING INDEX sqlite_autoindex_large_values_1 (run_id=?)"],
    "signals.delete_expired": ["signals_sent (sent_at<?)"],
    "signals.oldest_sent_at": ["signals_sent"],
    "schedules.take_slot": ["sqlite_autoindex_schedules_1 (workflow=?)"],
    "triggers.begin_evaluation": ["sqlite_autoindex_triggers_1 (name=?)"],
    "triggers.end_evaluation": ["triggers_evaluation (evaluation=?)"],
    "triggers.fail_evaluation": ["triggers_evaluation (evaluation=?)"],
    "triggers.select_evaluations": ["SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)"],
    "triggers.delete_run": [BY_ID],
}

COVERED = {
    "runs.count_due_by_group": "runs_ready",
    "runs.count_later_by_group": "runs_later",
    "runs.count_running_by_group": "runs_running",
    "runs.count_waiting_by_group": "runs_waiting",
    "runs.count_dead_by_group": "runs_dead",
    "runs.count_finished_since": "runs_finished",
    "runs.find_by_ending": "sqlite_autoindex_runs_1",
    "runs.select_ids": "sqlite_autoindex_runs_1",
}
"""What `status` and look-ups of ids read: an index alone, never the rows with their payloads."""

SORTED_BY_THEIR_INDEX = (
    "limits.hold_key",
    "limits.hold_rate",
    "limits.select_due_paces",
    "limits.release_held",
    "limits.find_start",
    "runs.claim",
    "runs.mark_due",
    "runs.delete_expired",
    "steps.select_due_waits",
    "runs.count_due_by_group",
)

COMPLETED_ELSEWHERE = {"runs.select"}
"""Statements to which the code adds its WHERE."""


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """The lines of EXPLAIN QUERY PLAN."""
    names = set(re.findall(r":(\w+)", statement))
    values: dict[str, None] | tuple[None, ...] = dict.fromkeys(names) if names else (None,) * statement.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def fill(connection: sqlite3.Connection, count: int) -> None:
    """So many runs in each state and as many later ones, with steps and waits."""
    rows = [
        {
            "id": f"{state}-{number}", "workflow": f"w{number % 7}", "group": f"g{number % 3}",
            "state": state, "ready": ready, "number": number, "finished": finished,
        }
        for number in range(count)
        for state, ready, finished in (
            ("pending", 1, None), ("pending-later", 0, None), ("running", 1, None), ("waiting", 0, None),
            ("succeeded", 1, number), ("cancelled", 1, number), ("dead", 1, number),
        )
    ]  # fmt: skip
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, finished_at,"
        " priority, max_attempts, created_at, payload)"
        " VALUES (:id, :workflow, :group, 'default', replace(:state, '-later', ''), :ready, :number, :number,"
        " :finished, 0, 1, 0, '{}')",
        rows,
    )
    connection.execute("INSERT INTO steps SELECT id, 'a', 'run', 'succeeded', '1', NULL, 1, 0, 0 FROM runs")
    connection.execute("INSERT INTO waits SELECT id, 'a', 'signal', id, run_at, 0 FROM runs WHERE state = 'waiting'")
    connection.execute("COMMIT")


@pytest.fixture(scope="module", params=[0, 500], ids=["empty", "full"])
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    opened = connect(tmp_path_factory.mktemp("queue") / "queue.db", "process")
    fill(opened, request.param)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_uses_its_index(connection: sqlite3.Connection, name: str) -> None:
    lines = [re.sub(" COVERING| EXISTS", "", line) for line in plan(connection, STATEMENTS[name])]
    for wanted in PLANS[name]:
        assert any(wanted in line for line in lines), lines


@pytest.mark.parametrize("name", COVERED)
def test_counts_are_read_from_an_index_alone(connection: sqlite3.Connection, name: str) -> None:
    lines = plan(connection, STATEMENTS[name])
    assert any(f"USING COVERING INDEX {COVERED[name]}" in line for line in lines), lines


@pytest.mark.parametrize("name", SORTED_BY_THEIR_INDEX)
def test_what_is_limited_is_not_sorted_first(connection: sqlite3.Connection, name: str) -> None:
    assert not any("TEMP B-TREE" in line for line in plan(connection, STATEMENTS[name]))


def test_no_statement_reads_a_whole_table(connection: sqlite3.Connection) -> None:
    whole = re.compile(r"SCAN (runs|steps|waits|large_values|signals)\Z")
    plans = {name: plan(connection, STATEMENTS[name]) for name in STATEMENTS.keys() - COMPLETED_ELSEWHERE}
    assert {name: lines for name, lines in plans.items() if any(map(whole.match, lines))} == {}


def test_one_run_is_shown_without_reading_others(connection: sqlite3.Connection) -> None:
    assert BY_ID in plan(connection, f"{queries.runs.select} WHERE id = ?")


@pytest.mark.parametrize("name", ["runs.claim", "runs.has_due", "runs.mark_due", "runs.next_due", "steps.select_due_waits"])
def test_ended_runs_make_a_live_one_no_slower(tmp_path: Path, name: str) -> None:
    values = {"group": "g0", "hold": None, "limit": 5, "server": "lax", "boot_id": "b", "now": -1, "allowed": None}
    statement = STATEMENTS[name].replace("?", ":now", 1).replace("?", ":limit", 1)
    work = []
    for count in (10, 500):
        opened = connect(tmp_path / f"{count}.db", "process")
        fill(opened, count)
        steps: list[int] = []
        opened.set_progress_handler(partial(steps.append, 1), 1)
        opened.execute(statement, values).fetchall()
        opened.close()
        work.append(len(steps))
    assert work[1] <= work[0] * 1.5 + 20


@pytest.mark.parametrize("state", RUN_STATES)
def test_the_few_runs_of_a_state_are_listed_without_reading_the_others(tmp_path: Path, state: RunState) -> None:
    opened = connect(tmp_path / "queue.db", "process")
    fill(opened, 1_000)
    opened.execute("DELETE FROM runs WHERE state = ? AND run_at > 2", (state,))
    steps: list[int] = []
    opened.set_progress_handler(partial(steps.append, 1), 1)
    found = reading.list_runs(Snapshot(opened), RunFilter(states=(state,)), 50)
    opened.close()
    assert [run.id for run in found] == sorted((run.id for run in found), reverse=True)
    assert {run.state for run in found} == {state}
    assert len(found) == 3 * (1 + (state == "pending"))
    assert len(steps) < 1_500


def test_results_cost_no_extra_statement_without_limits_and_one_without_held_runs(tmp_path: Path) -> None:
    opened = connect(tmp_path / "queue.db", "process")
    fill(opened, 6)
    counts = []
    for known, numbers in (({}, range(3)), ({"greet": Limit(1)}, range(3, 6))):
        done = [Completed(f"running-{number}", 0, "null", 1) for number in numbers]
        seen: list[str] = []
        transaction = Transaction(opened, 1)
        transaction.limits = known
        opened.set_trace_callback(seen.append)
        runs.complete(transaction, done)
        opened.set_trace_callback(None)
        counts.append(len(seen))
        assert transaction.freed == set()
    opened.close()
    assert counts[1] == counts[0] + 1


def test_the_unique_key_of_a_live_run_is_kept_apart_by_the_file_itself(connection: sqlite3.Connection) -> None:
    insert = (
        "INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, priority,"
        " max_attempts, created_at, unique_key) VALUES (?, 'w', 'g', 'default', ?, 0, 0, 0, 0, 1, 0, 'k')"
    )
    connection.execute("BEGIN")
    try:
        connection.execute(insert, ("one", "running"))
        connection.execute(insert, ("two", "dead"))
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(insert, ("three", "waiting"))
    finally:
        connection.execute("ROLLBACK")
