-- What the runs of a workflow with a rate are counted by for it; null for all others.
ALTER TABLE runs ADD COLUMN rate_key TEXT;

-- What was held for a rate is held again, by its key, when it is claimed.
UPDATE runs SET hold = CASE hold WHEN 'suspect_rate' THEN 'suspect' END WHERE hold = 'rate' OR hold = 'suspect_rate';

-- The due runs of a workflow and key that a rate may hold.
CREATE INDEX runs_rated ON runs (workflow, rate_key, hold, worker_group, due_order, id)
    WHERE rate_key IS NOT NULL AND state = 'pending' AND ready = 1;

-- When runs of workflows with a rate began, in milliseconds; 1 << 62 is one that a worker was given and has not begun yet.
-- Those that began before count on, as without a `rate_key`: no stretch of time over the change has more than the rate allows.
ALTER TABLE starts RENAME TO starts_by_workflow;
CREATE TABLE starts (
    workflow TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    run_id   TEXT    NOT NULL,
    PRIMARY KEY (workflow, key, at, run_id)
) STRICT, WITHOUT ROWID;
INSERT INTO starts (workflow, key, at, run_id) SELECT workflow, '', at, run_id FROM starts_by_workflow;
DROP TABLE starts_by_workflow;
CREATE INDEX starts_at ON starts (workflow, at, run_id);
CREATE INDEX starts_expected ON starts (run_id) WHERE at = 4611686018427387904;

-- Where each workflow and key stands with its rate, in milliseconds: `even_at` is when the next one would begin if all were
-- spaced evenly, and `free_at` when the next one may, where runs are held for it.
CREATE TABLE paces (
    workflow TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    even_at  REAL    NOT NULL,
    free_at  INTEGER,
    PRIMARY KEY (workflow, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX paces_even ON paces (workflow, even_at) WHERE free_at IS NULL;
CREATE INDEX paces_free ON paces (free_at) WHERE free_at IS NOT NULL;
