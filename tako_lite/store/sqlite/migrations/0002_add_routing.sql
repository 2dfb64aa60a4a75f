-- What happens to a run while its group is unavailable (null: it waits), and the source of that decision (null: the default).
ALTER TABLE runs ADD COLUMN fallback TEXT CHECK (fallback = 'wait' OR fallback = 'fail' OR fallback = 'cancel' OR fallback = 'ignore');
ALTER TABLE runs ADD COLUMN fallback_source TEXT;

-- The key under which a concurrency limit counts a run; null if its workflow has neither a limit nor a rate.
ALTER TABLE runs ADD COLUMN limit_key TEXT;

-- When a worker returned the run to the queue. Its waiting time counts from then; its place in the queue stays the same.
ALTER TABLE runs ADD COLUMN back_at INTEGER;

-- For a group that becomes unavailable: its due runs that do not wait for it.
CREATE INDEX runs_fallback ON runs (worker_group, fallback) WHERE fallback IS NOT NULL AND state = 'pending' AND ready = 1;

-- For concurrency limits, by key; and for rates: the due runs of a workflow, with any key.
CREATE INDEX runs_limited ON runs (workflow, limit_key, state, ready, hold, worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND (state = 'pending' OR state = 'running');
CREATE INDEX runs_paced ON runs (workflow, hold, worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1;

-- Whether a limit or a rate holds any run. This is checked after each result.
CREATE INDEX runs_held ON runs (workflow, limit_key)
    WHERE hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate';

-- When the group became unavailable, for runs that wait for it with a timeout.
ALTER TABLE groups ADD COLUMN lost_at INTEGER;

-- The start times of runs whose workflow has a rate. Those older than the period of the rate are deleted.
CREATE TABLE starts (
    workflow TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    run_id   TEXT    NOT NULL,
    PRIMARY KEY (workflow, at, run_id)
) STRICT, WITHOUT ROWID;

-- Polling triggers, never deleted: the cursor, the time of the next evaluation, and the run of the current evaluation.
CREATE TABLE triggers (
    name         TEXT    NOT NULL PRIMARY KEY,
    worker_group TEXT    NOT NULL,
    starts       TEXT    NOT NULL,
    every_ms     INTEGER NOT NULL,
    cursor       TEXT    NOT NULL DEFAULT 'null',
    next_at      INTEGER NOT NULL,
    evaluation   TEXT,
    evaluated_at INTEGER,
    started      INTEGER NOT NULL DEFAULT 0,
    error        TEXT,
    paused       INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    active       INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1))
) STRICT;

-- The trigger of an evaluation.
CREATE UNIQUE INDEX triggers_evaluation ON triggers (evaluation) WHERE evaluation IS NOT NULL;
