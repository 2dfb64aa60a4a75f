-- What became of a run's place: what is done where nobody serves its group (null is to wait), and who said so (null is nobody).
ALTER TABLE runs ADD COLUMN fallback TEXT CHECK (fallback = 'wait' OR fallback = 'fail' OR fallback = 'cancel' OR fallback = 'ignore');
ALTER TABLE runs ADD COLUMN fallback_source TEXT;

-- What the runs of a workflow with a limit or a rate are counted by; null for all others.
ALTER TABLE runs ADD COLUMN limit_key TEXT;

-- When a run came back to the queue from a worker; it waits since then, and keeps its place.
ALTER TABLE runs ADD COLUMN back_at INTEGER;

-- What is looked at when a group is lost: due runs that are not to wait for it.
CREATE INDEX runs_fallback ON runs (worker_group, fallback) WHERE fallback IS NOT NULL AND state = 'pending' AND ready = 1;

-- What limits are counted by, and what rates are: the due runs of a workflow whatever their key is.
CREATE INDEX runs_limited ON runs (workflow, limit_key, state, ready, hold, worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND (state = 'pending' OR state = 'running');
CREATE INDEX runs_paced ON runs (workflow, hold, worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1;

-- Whether anything is held by a limit at all, which is asked at each result.
CREATE INDEX runs_held ON runs (workflow, limit_key)
    WHERE hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate';

-- When a group was lost, for those that wait for it with a limit of time.
ALTER TABLE groups ADD COLUMN lost_at INTEGER;

-- When runs of workflows with a rate began; older ones than its time are forgotten.
CREATE TABLE starts (
    workflow TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    run_id   TEXT    NOT NULL,
    PRIMARY KEY (workflow, at, run_id)
) STRICT, WITHOUT ROWID;

-- Polling triggers, a row each for ever: where it got to, when it looks next, and the run that does so at this moment.
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

-- Which run is an evaluation.
CREATE UNIQUE INDEX triggers_evaluation ON triggers (evaluation) WHERE evaluation IS NOT NULL;
