-- name: count_running
-- How many runs of a workflow and key are running.
SELECT count(*) FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'running';

-- name: count_admitted
-- How many runs of a workflow and key are running or due, counted up to a number.
SELECT count(*) FROM (
    SELECT 1 FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'running'
    UNION ALL
    SELECT 1 FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1
    LIMIT :most
);

-- name: unclaim
-- A run that was claimed in this transaction was not: nobody has seen its token.
UPDATE runs
SET state = 'pending', hold = :held, claim_token = claim_token - 1,
    started_at = CASE claim_token WHEN 1 THEN NULL ELSE started_at END,
    server = CASE claim_token WHEN 1 THEN NULL ELSE server END, boot_id = CASE claim_token WHEN 1 THEN NULL ELSE boot_id END
WHERE id = :id AND state = 'running';

-- name: hold_key
-- The first due runs of a group, of one workflow and key, are held before a claim comes upon them.
UPDATE runs SET hold = :held
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold IS :hold AND worker_group = :group
    ORDER BY due_order, id
    LIMIT :limit
);

-- name: hold_rate
-- The first due runs of a group, of one workflow and rate key, are held before a claim finds them; those that have begun are not.
UPDATE runs SET hold = :held
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold IS :hold
        AND worker_group = :group AND executed_ms = 0
    ORDER BY due_order, id
    LIMIT :limit
);

-- name: groups_of_key
-- The groups in which runs of a workflow and key are held for a reason; each is looked up from the one before it.
WITH RECURSIVE found (name) AS (
    SELECT min(worker_group) FROM runs
    WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold = :held
    UNION ALL
    SELECT (
        SELECT min(worker_group) FROM runs
        WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold = :held
            AND worker_group > found.name
    ) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: groups_of_all
-- The groups in which runs of a workflow are held for a reason; each is looked up from the one before it.
WITH RECURSIVE found (name) AS (
    SELECT min(worker_group) FROM runs
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
    UNION ALL
    SELECT (
        SELECT min(worker_group) FROM runs
        WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
            AND worker_group > found.name
    ) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: release_key
-- Of the first due runs of a group, of one workflow and key, those that are held for a reason may be claimed again.
UPDATE runs SET hold = :hold
WHERE rowid IN (
    SELECT place FROM (
        SELECT * FROM (
            SELECT rowid AS place, 1 AS is_held, due_order, id FROM runs
            WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold = :held
                AND worker_group = :group
            ORDER BY due_order, id LIMIT :free
        )
        UNION ALL
        SELECT * FROM (
            SELECT rowid AS place, 0 AS is_held, due_order, id FROM runs
            WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold IS :hold
                AND worker_group = :group
            ORDER BY due_order, id LIMIT :free
        )
        ORDER BY due_order, id LIMIT :free
    ) WHERE is_held
);

-- name: groups_of_rate
-- The groups in which runs of a workflow and rate key are held for a reason; each is looked up from the one before it.
WITH RECURSIVE found (name) AS (
    SELECT min(worker_group) FROM runs
    WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
    UNION ALL
    SELECT (
        SELECT min(worker_group) FROM runs
        WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
            AND worker_group > found.name
    ) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: release_rate
-- Of the first due runs of a group, of one workflow and rate key, those that are held for a reason may be claimed again.
UPDATE runs SET hold = :hold
WHERE rowid IN (
    SELECT place FROM (
        SELECT * FROM (
            SELECT rowid AS place, 1 AS is_held, due_order, id FROM runs
            WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
                AND worker_group = :group
            ORDER BY due_order, id LIMIT :free
        )
        UNION ALL
        SELECT * FROM (
            SELECT rowid AS place, 0 AS is_held, due_order, id FROM runs
            WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold IS :hold
                AND worker_group = :group
            ORDER BY due_order, id LIMIT :free
        )
        ORDER BY due_order, id LIMIT :free
    ) WHERE is_held
);

-- name: release_held
-- The first due runs of a group, of one workflow, that are held for a reason may be claimed again.
UPDATE runs SET hold = :hold
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
        AND worker_group = :group
    ORDER BY due_order, id
    LIMIT :free
);

-- name: select_keys
-- What a run is counted by, if it is.
SELECT workflow, limit_key, rate_key FROM runs WHERE id = :id AND limit_key IS NOT NULL;

-- name: select_keys_of_many
-- What these runs are counted by, if they are.
SELECT id, workflow, limit_key, rate_key FROM runs WHERE id IN (SELECT value FROM json_each(:ids)) AND limit_key IS NOT NULL;

-- name: workflows_held
-- The workflows of which runs are held; each is looked up from the one before it.
WITH RECURSIVE found (name) AS (
    SELECT min(workflow) FROM runs
    WHERE (hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate')
    UNION ALL
    SELECT (
        SELECT min(workflow) FROM runs
        WHERE (hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate') AND workflow > found.name
    ) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: keys_held
-- A workflow and its keys of which runs are held by a limit, not by a rate; read where limits change.
SELECT workflow, limit_key AS key FROM (
    SELECT DISTINCT workflow, limit_key FROM runs
    WHERE (hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate') AND workflow = :workflow
) AS pair
WHERE EXISTS (
    SELECT 1 FROM runs
    WHERE workflow = pair.workflow AND limit_key = pair.limit_key AND state = 'pending' AND ready = 1 AND hold = 'limit'
) OR EXISTS (
    SELECT 1 FROM runs
    WHERE workflow = pair.workflow AND limit_key = pair.limit_key AND state = 'pending' AND ready = 1 AND hold = 'suspect_limit'
);

-- name: is_any_held
-- Whether any run is held by a limit.
SELECT 1 FROM runs WHERE (hold = 'limit' OR hold = 'rate' OR hold = 'suspect_limit' OR hold = 'suspect_rate') LIMIT 1;

-- name: select_running
-- The running runs with what they are counted by; read where limits change.
SELECT id, workflow, limit_key, rate_key, tenant,
    CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload
FROM runs WHERE state = 'running';

-- name: select_key_sources
-- What the keys of a run are made of, and what its rate counts it by.
SELECT CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload,
    tenant, rate_key
FROM runs WHERE id = :id;

-- name: set_keys
-- What a run is counted by has changed with its workflow.
UPDATE runs SET limit_key = :limit_key, rate_key = :rate_key WHERE id = :id;

-- name: expect_start
-- A run of a workflow with a rate was given to a worker, which is to say when it begins.
INSERT OR REPLACE INTO starts (workflow, key, at, run_id) VALUES (:workflow, :key, 4611686018427387904, :id);

-- name: is_any_start_expected
-- Whether any run is expected to begin.
SELECT 1 FROM starts WHERE at = 4611686018427387904 LIMIT 1;

-- name: record_start
-- A run that was expected to begin has begun, or has had its chance.
UPDATE OR REPLACE starts SET at = :now WHERE workflow = :workflow AND at = 4611686018427387904 AND run_id = :id RETURNING key;

-- name: record_all_starts
-- What was expected to begin when the last daemon ended has begun, for all that is known.
UPDATE OR REPLACE starts SET at = :now WHERE at = 4611686018427387904;

-- name: drop_expected_start
-- A run that was expected to begin never reached a worker.
DELETE FROM starts WHERE workflow = :workflow AND at = 4611686018427387904 AND run_id = :id RETURNING key;

-- name: count_starts
-- How many runs of a workflow and key began since then, or are expected to.
SELECT count(*) FROM starts WHERE workflow = :workflow AND key = :key AND at >= :since;

-- name: find_start
-- When runs of a workflow and key began since then, from the n-th on.
SELECT at FROM starts WHERE workflow = :workflow AND key = :key AND at >= :since ORDER BY at LIMIT 1 OFFSET :skip;

-- name: drop_starts
-- Starts before the time of a rate count no more.
DELETE FROM starts WHERE workflow = :workflow AND at < :before;

-- name: drop_starts_of_others
-- Starts of workflows that have no rate count no more.
DELETE FROM starts WHERE workflow NOT IN (SELECT value FROM json_each(:workflows));

-- name: clamp_future_starts
-- The clock went back: what began after now began now.
UPDATE OR REPLACE starts SET at = :now
WHERE workflow = :workflow AND key = :key AND at > :now AND at < 4611686018427387904;

-- name: find_pace
-- When the next run of a workflow and key would begin if all were spaced evenly.
SELECT even_at FROM paces WHERE workflow = :workflow AND key = :key;

-- name: set_pace
-- Runs of a workflow and key begin.
INSERT INTO paces (workflow, key, even_at) VALUES (:workflow, :key, :even_at)
ON CONFLICT (workflow, key) DO UPDATE SET even_at = excluded.even_at;

-- name: set_free_at
-- Runs of a workflow and key are held until then; null where none is, or where that is not known yet.
INSERT INTO paces (workflow, key, even_at, free_at) VALUES (:workflow, :key, 0, :free_at)
ON CONFLICT (workflow, key) DO UPDATE SET free_at = excluded.free_at;

-- name: drop_paces
-- A workflow and key of which no run began for long may begin at once; nothing has to be known of it.
DELETE FROM paces WHERE workflow = :workflow AND even_at < :before AND free_at IS NULL;

-- name: drop_paces_of_others
-- Where limits change, what is held is looked up anew.
DELETE FROM paces WHERE workflow NOT IN (SELECT value FROM json_each(:workflows));

-- name: select_due_paces
-- The workflows and keys of which a run that is held may begin by now.
SELECT workflow, key FROM paces WHERE free_at <= :now ORDER BY free_at LIMIT :limit;

-- name: next_free_at
-- When the next run that is held for a rate may begin.
SELECT min(free_at) FROM paces WHERE free_at IS NOT NULL;

-- name: rate_keys_held
-- A workflow and its rate keys of which due runs are held; read where limits change.
SELECT DISTINCT workflow, rate_key AS key FROM runs
WHERE rate_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND (hold = 'rate' OR hold = 'suspect_rate');
