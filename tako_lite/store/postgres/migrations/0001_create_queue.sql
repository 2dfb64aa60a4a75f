-- The version of the schema, the project that owns it, and a number that changes with what servers keep in memory.
CREATE TABLE meta (
    one            boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    project        text,
    schema_version integer NOT NULL,
    oldest_program integer NOT NULL,
    version        bigint  NOT NULL DEFAULT 0
);

-- Runs. Times are milliseconds since 1970. `due_order` is `run_at` minus the head start that the priority gives. `lost` counts
-- the servers that were lost while they had the run.
CREATE TABLE runs (
    id               text    COLLATE "C" NOT NULL PRIMARY KEY,
    workflow         text    COLLATE "C" NOT NULL,
    worker_group     text    COLLATE "C" NOT NULL,
    group_source     text    NOT NULL,
    state            text    COLLATE "C" NOT NULL CHECK (state IN ('pending', 'running', 'waiting', 'succeeded', 'cancelled', 'dead')),
    ready            boolean NOT NULL,
    hold             text    COLLATE "C",
    priority         bigint  NOT NULL DEFAULT 0,
    run_at           bigint  NOT NULL,
    due_order        bigint  NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL CHECK (max_attempts >= 1),
    crashes          integer NOT NULL DEFAULT 0,
    lost             integer NOT NULL DEFAULT 0,
    executed_ms      bigint  NOT NULL DEFAULT 0,
    claim_token      bigint  NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    server           text,
    boot_id          text    COLLATE "C",
    worker_pid       integer,
    unique_key       text    COLLATE "C",
    parent           text    COLLATE "C",
    tenant           text    COLLATE "C",
    created_at       bigint  NOT NULL,
    claimed_at       bigint,
    started_at       bigint,
    finished_at      bigint,
    back_at          bigint,
    discarded_at     bigint,
    progress         double precision,
    progress_note    text,
    fallback         text    CHECK (fallback IN ('wait', 'fail', 'cancel', 'ignore')),
    fallback_source  text,
    limit_key        text    COLLATE "C",
    rate_key         text    COLLATE "C",
    fingerprint      text    COLLATE "C",
    again_of         text    COLLATE "C",
    trace            text,
    payload          text,
    result           text,
    error            text
) WITH (
    fillfactor = 80, toast_tuple_target = 512,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02
);

-- For claims: due runs in the order in which they start. Claims skip runs with a hold.
CREATE INDEX runs_ready ON runs (worker_group, (coalesce(hold, '')), due_order, id) WHERE state = 'pending' AND ready;

-- For the timer: runs that become due later.
CREATE INDEX runs_later ON runs (run_at, worker_group) WHERE state = 'pending' AND NOT ready;

-- For recovery. Not by `boot_id`: equal keys would collect dead entries.
CREATE INDEX runs_running ON runs (id) WHERE state = 'running';
CREATE INDEX runs_waiting ON runs (worker_group, id) WHERE state = 'waiting';

-- For retention, and for the runs per minute in `status`.
CREATE INDEX runs_finished ON runs (state, finished_at, worker_group) WHERE finished_at IS NOT NULL;

-- The dead runs that nobody has acknowledged.
CREATE INDEX runs_dead ON runs (worker_group) WHERE state = 'dead' AND discarded_at IS NULL;

-- At most one unfinished run for each unique key, even after a crash.
CREATE UNIQUE INDEX runs_unique_key ON runs (workflow, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('pending', 'running', 'waiting');

CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_fingerprint ON runs (fingerprint, finished_at) WHERE fingerprint IS NOT NULL;
CREATE INDEX runs_again ON runs (again_of) WHERE again_of IS NOT NULL;

-- For a group that becomes unavailable: its due runs that do not wait for it.
CREATE INDEX runs_fallback ON runs (worker_group, fallback) WHERE fallback IS NOT NULL AND state = 'pending' AND ready;

-- For concurrency limits, by key; for rates: the due runs of a workflow, with any key, and with one.
CREATE INDEX runs_limited ON runs (workflow, limit_key, state, (coalesce(hold, '')), worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND (state = 'pending' OR state = 'running');
CREATE INDEX runs_paced ON runs (workflow, hold, worker_group, due_order, id)
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready;
CREATE INDEX runs_rated ON runs (workflow, rate_key, (coalesce(hold, '')), worker_group, due_order, id)
    WHERE rate_key IS NOT NULL AND state = 'pending' AND ready;

-- Whether a limit or a rate holds any run. This is checked after each result.
CREATE INDEX runs_held ON runs (workflow, limit_key)
    WHERE hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate';

-- Stored steps. A succeeded step never changes; a failed one counts its attempts.
CREATE TABLE steps (
    run_id      text    COLLATE "C" NOT NULL,
    name        text    COLLATE "C" NOT NULL,
    kind        text    NOT NULL CHECK (kind IN ('run', 'sleep', 'signal', 'child', 'enqueue')),
    state       text    NOT NULL CHECK (state IN ('succeeded', 'failed')),
    result      text,
    error       text,
    attempts    integer NOT NULL,
    started_at  bigint  NOT NULL,
    finished_at bigint  NOT NULL,
    PRIMARY KEY (run_id, name)
) WITH (toast_tuple_target = 512, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- The waits of parked runs: for a time, a signal, a child, or the next attempt of a step.
CREATE TABLE waits (
    run_id     text   COLLATE "C" NOT NULL,
    name       text   COLLATE "C" NOT NULL,
    kind       text   NOT NULL CHECK (kind IN ('sleep', 'signal', 'child', 'retry')),
    key        text   COLLATE "C",
    wake_at    bigint,
    started_at bigint NOT NULL,
    PRIMARY KEY (run_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX waits_key ON waits (kind, key) WHERE key IS NOT NULL;
CREATE INDEX waits_due ON waits (wake_at) WHERE wake_at IS NOT NULL;

-- Signals. They are kept for some time, because a signal may be sent before the wait starts. The first one of an event counts.
-- The waits for one that is not `delivered` have not ended: it was stored in a transaction of a user.
CREATE TABLE signals (
    event     text    COLLATE "C" NOT NULL PRIMARY KEY,
    payload   text    NOT NULL,
    sent_at   bigint  NOT NULL,
    delivered boolean NOT NULL DEFAULT true
);
CREATE INDEX signals_sent ON signals (sent_at);
CREATE INDEX signals_undelivered ON signals (event) WHERE NOT delivered;

-- One row for each schedule, never deleted. `last_slot` only increases, so no slot creates two runs.
CREATE TABLE schedules (
    workflow  text    COLLATE "C" NOT NULL PRIMARY KEY,
    cron      text    NOT NULL,
    timezone  text    NOT NULL,
    catch_up  text    NOT NULL CHECK (catch_up IN ('latest', 'none', 'all')),
    last_slot bigint  NOT NULL,
    fired_at  bigint,
    paused    boolean NOT NULL DEFAULT false,
    active    boolean NOT NULL DEFAULT true
);

-- Polling triggers, never deleted: the cursor, the time of the next evaluation, and the run of the current evaluation.
CREATE TABLE triggers (
    name         text    COLLATE "C" NOT NULL PRIMARY KEY,
    worker_group text    NOT NULL,
    starts       text    NOT NULL,
    every_ms     bigint  NOT NULL,
    cursor       text    NOT NULL DEFAULT 'null',
    next_at      bigint  NOT NULL,
    evaluation   text    COLLATE "C",
    evaluated_at bigint,
    started      bigint  NOT NULL DEFAULT 0,
    error        text,
    paused       boolean NOT NULL DEFAULT false,
    active       boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX triggers_evaluation ON triggers (evaluation) WHERE evaluation IS NOT NULL;

-- Overrides of groups by operators, and since when a group is unavailable.
CREATE TABLE groups (
    name    text    COLLATE "C" NOT NULL PRIMARY KEY,
    paused  boolean NOT NULL DEFAULT false,
    scale   integer,
    lost_at bigint
);

-- The number of ended runs that retention has deleted, by state.
CREATE TABLE ledger (
    state  text   COLLATE "C" NOT NULL PRIMARY KEY,
    pruned bigint NOT NULL
);

-- The start times of runs whose workflow has a rate. 1 << 62 stands for a run that a worker has received but not yet started.
CREATE TABLE starts (
    workflow text   COLLATE "C" NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    at       bigint NOT NULL,
    run_id   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (workflow, key, at, run_id)
);
CREATE INDEX starts_at ON starts (workflow, at, run_id);
CREATE INDEX starts_expected ON starts (run_id) WHERE at = 4611686018427387904;

-- The state of each rate: when the next run would start if all were spaced evenly, and when the next run may start.
CREATE TABLE paces (
    workflow text   COLLATE "C" NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    even_at  double precision NOT NULL,
    free_at  bigint,
    PRIMARY KEY (workflow, key)
);
CREATE INDEX paces_even ON paces (workflow, even_at) WHERE free_at IS NULL;
CREATE INDEX paces_free ON paces (free_at) WHERE free_at IS NOT NULL;

-- The attempts of a run (`step` is empty) and the tries of its steps, each under the claim in which it was made.
CREATE TABLE attempts (
    run_id      text    COLLATE "C" NOT NULL,
    claim_token bigint  NOT NULL,
    step        text    COLLATE "C" NOT NULL,
    number      integer NOT NULL,
    kind        text    NOT NULL CHECK (kind IN ('succeeded', 'failed', 'timeout', 'crashed', 'bailed', 'cancelled', 'parked',
        'postponed', 'released', 'interrupted')),
    started_at  bigint  NOT NULL,
    ended_at    bigint  NOT NULL,
    executed_ms bigint  NOT NULL,
    server      text,
    worker_pid  integer,
    error       text,
    fingerprint text    COLLATE "C",
    PRIMARY KEY (run_id, claim_token, step, number)
);
CREATE INDEX attempts_fingerprint ON attempts (fingerprint, ended_at) WHERE fingerprint IS NOT NULL;

-- What happened in each minute, by group and workflow; `buckets` is JSON.
CREATE TABLE minutes (
    minute       bigint NOT NULL,
    worker_group text   COLLATE "C" NOT NULL,
    workflow     text   COLLATE "C" NOT NULL,
    started      bigint NOT NULL,
    succeeded    bigint NOT NULL,
    failed       bigint NOT NULL,
    dead         bigint NOT NULL,
    cancelled    bigint NOT NULL,
    waited_ms    bigint NOT NULL,
    executed_ms  bigint NOT NULL,
    buckets      text   NOT NULL,
    PRIMARY KEY (minute, worker_group, workflow)
);

-- What people changed by hand, in the order of ids; `detail` is JSON.
CREATE TABLE activity (
    id     text   COLLATE "C" NOT NULL PRIMARY KEY,
    at     bigint NOT NULL,
    actor  text   NOT NULL,
    source text   NOT NULL,
    action text   NOT NULL,
    target text   NOT NULL,
    detail text   NOT NULL
);

-- Servers. A server lives while its beat grows; `ended_at` is final. `groups` is null for one that serves all groups.
CREATE TABLE servers (
    boot_id    text        COLLATE "C" NOT NULL PRIMARY KEY,
    server_id  text        NOT NULL,
    name       text        COLLATE "C" NOT NULL,
    host       text        NOT NULL,
    program    text        NOT NULL,
    groups     text[],
    lease      interval    NOT NULL,
    beat       bigint      NOT NULL DEFAULT 0,
    renewed_at timestamptz NOT NULL,
    joined_at  bigint      NOT NULL,
    ended_at   bigint,
    ended_by   text
) WITH (fillfactor = 50);

-- Two live servers of one name are refused.
CREATE UNIQUE INDEX servers_name ON servers (name) WHERE ended_at IS NULL;

-- What each live server says about each group that it serves.
CREATE TABLE server_groups (
    boot_id     text    COLLATE "C" NOT NULL,
    name        text    COLLATE "C" NOT NULL,
    available   boolean NOT NULL,
    trouble     text,
    state       text    NOT NULL,
    workers     integer NOT NULL,
    max_workers integer NOT NULL,
    slots       integer NOT NULL,
    busy        integer NOT NULL,
    PRIMARY KEY (boot_id, name)
) WITH (fillfactor = 50);

-- Which servers have a workflow in their catalog.
CREATE TABLE handlers (
    workflow text COLLATE "C" NOT NULL,
    boot_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (workflow, boot_id)
);



-- For programs that start and stop servers, and for people.
CREATE VIEW backlog AS
SELECT known.name AS "group",
    (SELECT count(*) FROM runs WHERE worker_group = known.name AND state = 'pending' AND ready) AS due,
    (SELECT count(*) FROM runs WHERE worker_group = known.name AND state = 'running') AS running,
    (
        SELECT count(*) FROM servers
        WHERE ended_at IS NULL AND renewed_at + lease > clock_timestamp() AND (groups IS NULL OR known.name = ANY (groups))
    ) AS servers
FROM (
    SELECT DISTINCT worker_group AS name FROM runs WHERE state = 'pending' OR state = 'running'
    UNION
    SELECT name FROM server_groups
) AS known;

CREATE VIEW runs_readable AS
SELECT id, workflow, worker_group AS "group", state, attempts, max_attempts, tenant, unique_key, parent, server,
    to_timestamp(created_at / 1000.0) AS created_at, to_timestamp(run_at / 1000.0) AS run_at,
    to_timestamp(started_at / 1000.0) AS started_at, to_timestamp(finished_at / 1000.0) AS finished_at,
    payload::json AS payload, result::json AS result, error::json AS error
FROM runs;

-- A member of a JSON object as text; null for text that PostgreSQL cannot represent, such as an escaped NUL.
CREATE FUNCTION json_text(value text, name text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN value::json ->> name;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
