-- When a run was claimed last; `fingerprint` groups runs that failed alike; `again_of` is the run that this one repeats with
-- another payload; `trace` is the W3C trace context of the enqueue.
ALTER TABLE runs ADD COLUMN claimed_at INTEGER;
ALTER TABLE runs ADD COLUMN fingerprint TEXT;
ALTER TABLE runs ADD COLUMN again_of TEXT;
ALTER TABLE runs ADD COLUMN trace TEXT;

CREATE INDEX runs_fingerprint ON runs (fingerprint, finished_at) WHERE fingerprint IS NOT NULL;
CREATE INDEX runs_again ON runs (again_of) WHERE again_of IS NOT NULL;

-- The attempts of a run (`step` is empty) and the tries of its steps, each under the claim in which it was made. A run that
-- succeeds at its first attempt has no row.
CREATE TABLE attempts (
    run_id      TEXT    NOT NULL,
    claim_token INTEGER NOT NULL,
    step        TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    kind        TEXT    NOT NULL
        CHECK (kind = 'succeeded' OR kind = 'failed' OR kind = 'timeout' OR kind = 'crashed' OR kind = 'bailed'
            OR kind = 'cancelled' OR kind = 'parked' OR kind = 'postponed' OR kind = 'released' OR kind = 'interrupted'),
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    executed_ms INTEGER NOT NULL,
    server      TEXT,
    worker_pid  INTEGER,
    error       TEXT,
    fingerprint TEXT,
    PRIMARY KEY (run_id, claim_token, step, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_fingerprint ON attempts (fingerprint, ended_at) WHERE fingerprint IS NOT NULL;

-- What happened in each minute, by group and workflow; `buckets` is JSON. A minute in which nothing happened has no row.
CREATE TABLE minutes (
    minute       INTEGER NOT NULL,
    worker_group TEXT    NOT NULL,
    workflow     TEXT    NOT NULL,
    started      INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    dead         INTEGER NOT NULL,
    cancelled    INTEGER NOT NULL,
    waited_ms    INTEGER NOT NULL,
    executed_ms  INTEGER NOT NULL,
    buckets      TEXT    NOT NULL,
    PRIMARY KEY (minute, worker_group, workflow)
) STRICT, WITHOUT ROWID;

-- What people changed by hand, in the order of ids; `detail` is JSON.
CREATE TABLE activity (
    id     TEXT    NOT NULL PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    source TEXT    NOT NULL,
    action TEXT    NOT NULL,
    target TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
