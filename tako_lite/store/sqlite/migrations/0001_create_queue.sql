-- CHECKs of more than two words use OR. For a longer IN, SQLite builds a temporary table, once for each row that it checks.

-- Runs. Times are milliseconds since 1970. `due_order` is `run_at` minus the head start that the priority gives.
CREATE TABLE runs (
    id               TEXT    NOT NULL PRIMARY KEY,
    workflow         TEXT    NOT NULL,
    worker_group     TEXT    NOT NULL,
    group_source     TEXT    NOT NULL,
    state            TEXT    NOT NULL
        CHECK (state = 'pending' OR state = 'running' OR state = 'waiting'
            OR state = 'succeeded' OR state = 'cancelled' OR state = 'dead'),
    ready            INTEGER NOT NULL CHECK (ready IN (0, 1)),
    hold             TEXT,
    priority         INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    due_order        INTEGER NOT NULL,
    attempts         INTEGER NOT NULL DEFAULT 0,
    max_attempts     INTEGER NOT NULL CHECK (max_attempts >= 1),
    crashes          INTEGER NOT NULL DEFAULT 0,
    executed_ms      INTEGER NOT NULL DEFAULT 0,
    claim_token      INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    server           TEXT,
    boot_id          TEXT,
    worker_pid       INTEGER,
    unique_key       TEXT,
    parent           TEXT,
    tenant           TEXT,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    progress         REAL,
    progress_note    TEXT,
    payload          TEXT,
    result           TEXT,
    error            TEXT
) STRICT;

-- For claims: due runs in the order in which they start. Claims skip runs with a hold.
-- The columns after `id` make the index cover the statements that count.
CREATE INDEX runs_ready ON runs (worker_group, hold, due_order, id, run_at, state, ready) WHERE state = 'pending' AND ready = 1;

-- For the timer: runs that become due later.
CREATE INDEX runs_later ON runs (run_at, worker_group, state, ready) WHERE state = 'pending' AND ready = 0;

CREATE INDEX runs_running ON runs (worker_group, state) WHERE state = 'running';
CREATE INDEX runs_waiting ON runs (worker_group, state) WHERE state = 'waiting';

-- For retention, and for the runs per minute in `status`.
CREATE INDEX runs_finished ON runs (state, finished_at, worker_group) WHERE finished_at IS NOT NULL;

-- At most one unfinished run for each unique key, even after a crash.
CREATE UNIQUE INDEX runs_unique_key ON runs (workflow, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('pending', 'running', 'waiting');

CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL;

-- Long values, kept apart so that a change of their row does not rewrite them; the row then has an empty text. `kind` is
-- payload, result, error or step:NAME.
CREATE TABLE large_values (
    run_id TEXT NOT NULL,
    kind   TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, kind)
) STRICT;

-- Stored steps. A succeeded step never changes; a failed one counts its attempts.
CREATE TABLE steps (
    run_id      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL
        CHECK (kind = 'run' OR kind = 'sleep' OR kind = 'signal' OR kind = 'child' OR kind = 'enqueue'),
    state       TEXT    NOT NULL CHECK (state IN ('succeeded', 'failed')),
    result      TEXT,
    error       TEXT,
    attempts    INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

-- The waits of parked runs: for a time, a signal, a child, or the next attempt of a step.
CREATE TABLE waits (
    run_id     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind = 'sleep' OR kind = 'signal' OR kind = 'child' OR kind = 'retry'),
    key        TEXT,
    wake_at    INTEGER,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX waits_key ON waits (kind, key) WHERE key IS NOT NULL;
CREATE INDEX waits_due ON waits (wake_at) WHERE wake_at IS NOT NULL;

-- Signals. They are kept for some time, because a signal may be sent before the wait starts. The first one of an event counts.
CREATE TABLE signals (
    event   TEXT    NOT NULL PRIMARY KEY,
    payload TEXT    NOT NULL,
    sent_at INTEGER NOT NULL
) STRICT;

CREATE INDEX signals_sent ON signals (sent_at);

-- One row for each schedule, never deleted. `last_slot` only increases, so no slot creates two runs.
CREATE TABLE schedules (
    workflow   TEXT    NOT NULL PRIMARY KEY,
    cron       TEXT    NOT NULL,
    timezone   TEXT    NOT NULL,
    catch_up   TEXT    NOT NULL CHECK (catch_up = 'latest' OR catch_up = 'none' OR catch_up = 'all'),
    last_slot  INTEGER NOT NULL,
    fired_at   INTEGER,
    paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    active     INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1))
) STRICT;

-- Overrides of groups by operators: paused, or another number of workers.
CREATE TABLE groups (
    name   TEXT    NOT NULL PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    scale  INTEGER
) STRICT;

-- The number of ended runs that retention has deleted, by state.
CREATE TABLE ledger (
    state  TEXT    NOT NULL PRIMARY KEY,
    pruned INTEGER NOT NULL
) STRICT;
