"""Every hot statement is answered from the index that was made for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tako_lite.store.base import Completed, Limit
from tako_lite.store.sqlite import queries, runs
from tako_lite.store.sqlite.file import connect
from tako_lite.store.sqlite.transaction import Transaction

BY_ID = "SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)"
OF_KEY = "workflow=? AND limit_key=? AND state=? AND ready=? AND hold=?"
OF_RATE = "workflow=? AND rate_key=? AND hold=?"
BY_ROW = "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"

STATEMENTS = {
    f"{file}.{name}": statement
    for file in ("runs", "limits", "steps", "signals", "schedules", "triggers")
    for name, statement in vars(getattr(queries, file)).items()
}

PLANS = {
    "runs.claim": [BY_ROW, "SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)"],
    "runs.more": ["SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)"],
    "runs.ripen": [BY_ROW, "SEARCH runs USING INDEX runs_later (run_at<?)"],
    "runs.next_due": ["SEARCH runs USING INDEX runs_later"],
    "runs.known": [BY_ID],
    "runs.holder": ["SEARCH runs USING INDEX runs_unique_key (workflow=? AND unique_key=?)"],
    "runs.complete": [BY_ID],
    "runs.try_again": [BY_ID],
    "runs.finish": [BY_ID],
    "runs.give_back": [BY_ID],
    "runs.charge_crash": [BY_ID],
    "runs.bury_crash": [BY_ID],
    "runs.claimed": [BY_ID],
    "runs.park": [BY_ID],
    "runs.wake": [BY_ID],
    "runs.cancel": [BY_ID],
    "runs.retry": [BY_ID],
    "runs.lift": [
        BY_ROW,
        "SEARCH runs USING INDEX runs_ready (worker_group>?)",
        "SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=?)",
    ],
    "runs.move": [BY_ROW, "runs_ready (worker_group=?)", "runs_running (worker_group=?", "runs_waiting (worker_group=?"],
    "runs.ahead": ["SEARCH runs USING INDEX runs_ready (worker_group=? AND hold=? AND due_order<?)"],
    "runs.orphans": ["runs_running"],
    "runs.groups_with_work": ["runs_ready"],
    "runs.suspects": ["runs_ready"],
    "runs.queued_by_workflow": ["INDEX runs_ready", "INDEX runs_later", "INDEX runs_waiting"],
    "runs.expired": [BY_ROW, "runs_finished (state=? AND finished_at<?)"],
    "runs.oldest_finished": ["INDEX runs_finished (state=?"],
    "limits.running": ["SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=?)"],
    "limits.admitted": [
        "SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=?)",
        "SEARCH runs USING INDEX runs_limited (workflow=? AND limit_key=? AND state=? AND ready=?)",
    ],
    "limits.put_back": [BY_ID],
    "limits.hold_key": [BY_ROW, f"SEARCH runs USING INDEX runs_limited ({OF_KEY} AND worker_group=?)"],
    "limits.hold_rate": [BY_ROW, f"SEARCH runs USING INDEX runs_rated ({OF_RATE} AND worker_group=?)"],
    "limits.groups_of_rate": [
        f"SEARCH runs USING INDEX runs_rated ({OF_RATE})",
        f"SEARCH runs USING INDEX runs_rated ({OF_RATE} AND worker_group>?)",
    ],
    "limits.keys_paced": ["SEARCH runs USING INDEX runs_rated (workflow=? AND rate_key>?)"],
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
    "limits.of_run": [BY_ID],
    "limits.of_runs": [BY_ID],
    "limits.release_held": [BY_ROW, "SEARCH runs USING INDEX runs_paced (workflow=? AND hold=? AND worker_group=?)"],
    "limits.workflows_held": ["SEARCH runs USING INDEX runs_held", "SEARCH runs USING INDEX runs_held (workflow>?)"],
    "limits.keys_held": ["SEARCH runs USING INDEX runs_held (workflow=?)", f"SEARCH runs USING INDEX runs_limited ({OF_KEY})"],
    "limits.any_held": ["runs_held"],
    "limits.all_running": ["runs_running"],
    "limits.began": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>?)"],
    "limits.began_at": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>?)"],
    "limits.forget": ["SEARCH starts USING INDEX starts_at (workflow=? AND at<?)"],
    "limits.turn_back": ["SEARCH starts USING PRIMARY KEY (workflow=? AND key=? AND at>? AND at<?)"],
    "limits.begin": ["SEARCH starts USING INDEX starts_"],
    "limits.unbegin": ["SEARCH starts USING INDEX starts_"],
    "limits.any_expected": ["starts_expected"],
    "limits.pace": ["SEARCH paces USING PRIMARY KEY (workflow=? AND key=?)"],
    "limits.forget_paces": ["SEARCH paces USING INDEX paces_even (workflow=? AND even_at<?)"],
    "limits.paces_due": ["SEARCH paces USING INDEX paces_free (free_at<?)"],
    "limits.next_pace": ["SEARCH paces USING INDEX paces_free"],
    "steps.save": [BY_ID],
    "steps.get": ["SEARCH steps USING PRIMARY KEY (run_id=? AND name=?)"],
    "steps.of_run": ["SEARCH steps USING PRIMARY KEY (run_id=?)"],
    "steps.has_steps": ["SEARCH steps USING PRIMARY KEY (run_id=?)"],
    "steps.wait": ["SEARCH waits USING PRIMARY KEY (run_id=? AND name=?)"],
    "steps.waits_for": ["SEARCH waits USING INDEX waits_key (kind=? AND key=?)"],
    "steps.waits_due": ["SEARCH waits USING INDEX waits_due (wake_at<?)"],
    "steps.next_wait": ["INDEX waits_due"],
    "steps.drop_waits": ["SEARCH waits USING PRIMARY KEY (run_id=?)"],
    "steps.outcome": [BY_ID],
    "steps.forget_large": ["SEARCH large_values USING INDEX sqlite_autoindex_large_values_1 (run_id=?)"],
    "signals.expire": ["signals_sent (sent_at<?)"],
    "signals.oldest": ["signals_sent"],
    "schedules.advance": ["sqlite_autoindex_schedules_1 (workflow=?)"],
    "triggers.begin": ["sqlite_autoindex_triggers_1 (name=?)"],
    "triggers.succeed": ["triggers_evaluation (evaluation=?)"],
    "triggers.fail": ["triggers_evaluation (evaluation=?)"],
    "triggers.evaluations": ["SEARCH runs USING INDEX sqlite_autoindex_runs_1 (id=?)"],
    "triggers.forget": [BY_ID],
}

COVERED = {
    "runs.pending_by_group": "runs_ready",
    "runs.later_by_group": "runs_later",
    "runs.running_by_group": "runs_running",
    "runs.waiting_by_group": "runs_waiting",
    "runs.dead_by_group": "runs_dead",
    "runs.finished_since": "runs_finished",
    "runs.ending": "sqlite_autoindex_runs_1",
    "runs.ids": "sqlite_autoindex_runs_1",
}
"""What `status` and look-ups of ids read: an index alone, never the rows with their payloads."""

SORTED_BY_THEIR_INDEX = (
    "limits.hold_key",
    "limits.hold_rate",
    "limits.paces_due",
    "limits.release_held",
    "limits.began_at",
    "runs.claim",
    "runs.ripen",
    "runs.expired",
    "steps.waits_due",
    "runs.pending_by_group",
)

COMPLETED_ELSEWHERE = {"runs.get"}
"""Statements to which the code adds its WHERE."""


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """The lines of EXPLAIN QUERY PLAN."""
    names = set(re.findall(r":(\w+)", statement))
    numbered = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    count = max(numbered, default=statement.count("?"))
    values: dict[str, None] | tuple[None, ...] = dict.fromkeys(names) if names else (None,) * count
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def fill(connection: sqlite3.Connection, count: int) -> None:
    """So many runs in each state and as many later ones, with steps and waits."""
    rows = [
        (f"{state}-{number}", f"w{number % 7}", f"g{number % 3}", state, ready, number, finished)
        for number in range(count)
        for state, ready, finished in (
            ("pending", 1, None), ("pending-later", 0, None), ("running", 1, None), ("waiting", 0, None),
            ("succeeded", 1, number), ("cancelled", 1, number), ("dead", 1, number),
        )
    ]  # fmt: skip
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO runs (id, workflow, worker_group, group_source, state, ready, run_at, due_order, finished_at,"
        " priority, max_attempts, created_at, payload) VALUES (?1, ?2, ?3, 'default', replace(?4, '-later', ''), ?5, ?6,"
        " ?6, ?7, 0, 1, 0, '{}')",
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
    lines = [line.replace(" COVERING", "") for line in plan(connection, STATEMENTS[name])]
    for wanted in PLANS[name]:
        assert any(wanted in line for line in lines), lines


@pytest.mark.parametrize("name", COVERED)
def test_counts_are_read_from_an_index_alone(connection: sqlite3.Connection, name: str) -> None:
    lines = plan(connection, STATEMENTS[name])
    assert any(f"USING COVERING INDEX {COVERED[name]}" in line for line in lines), lines


@pytest.mark.parametrize("name", SORTED_BY_THEIR_INDEX)
def test_what_is_limited_is_not_sorted_first(connection: sqlite3.Connection, name: str) -> None:
    assert not any("TEMP B-TREE" in line for line in plan(connection, STATEMENTS[name]))


@pytest.mark.parametrize("name", sorted(STATEMENTS.keys() - COMPLETED_ELSEWHERE))
def test_no_statement_reads_a_whole_table(connection: sqlite3.Connection, name: str) -> None:
    whole = re.compile(r"SCAN (runs|steps|waits|large_values|signals)\Z")
    lines = plan(connection, STATEMENTS[name])
    assert not any(whole.match(line) for line in lines), lines


def test_one_run_is_shown_without_reading_others(connection: sqlite3.Connection) -> None:
    assert BY_ID in plan(connection, f"{queries.runs.get} WHERE id = ?")


@pytest.mark.parametrize("name", ["runs.claim", "runs.more", "runs.ripen", "runs.next_due", "steps.waits_due"])
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


def test_results_cost_no_statement_more_where_no_workflow_has_a_limit_and_one_where_none_is_held(tmp_path: Path) -> None:
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
