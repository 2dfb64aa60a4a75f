-- The key under which a rate counts a run; null if its workflow has no rate.
ALTER TABLE runs ADD COLUMN rate_key TEXT;

-- Releases the runs that a rate holds. The next claims hold them again, by key.
UPDATE runs SET hold = CASE hold WHEN 'suspect_rate' THEN 'suspect' END WHERE hold = 'rate' OR hold = 'suspect_rate';

-- The due runs of a workflow and a key, which a rate may hold.
CREATE INDEX runs_rated ON runs (workflow, rate_key, hold, worker_group, due_order, id)
    WHERE rate_key IS NOT NULL AND state = 'pending' AND ready = 1;

-- The start times of runs whose workflow has a rate, in milliseconds. 1 << 62 stands for a run that a worker has received
-- but not yet started. Earlier starts are kept, with an empty key, so that the rate also holds during the migration.
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

-- The state of each rate, by workflow and key, in milliseconds. `even_at` is when the next run would start if all were spaced
-- evenly. `free_at` is when the next run may start; null if the rate holds no runs.
CREATE TABLE paces (
    workflow TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    even_at  REAL    NOT NULL,
    free_at  INTEGER,
    PRIMARY KEY (workflow, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX paces_even ON paces (workflow, even_at) WHERE free_at IS NULL;
CREATE INDEX paces_free ON paces (free_at) WHERE free_at IS NOT NULL;
