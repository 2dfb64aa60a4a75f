-- name: count_running
-- The number of running runs of a workflow and key.
SELECT count(*) FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'running';

-- name: count_admitted
-- The number of running or due runs of a workflow and key, counted up to a maximum.
SELECT count(*) FROM (
    SELECT 1 FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'running'
    UNION ALL
    SELECT 1 FROM runs WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1
    LIMIT :most
);

-- name: unclaim
-- Undo the claim of a run in the transaction that claimed it: no worker has seen its token.
UPDATE runs
SET state = 'pending', hold = :held, claim_token = claim_token - 1, claimed_at = NULL,
    started_at = CASE claim_token WHEN 1 THEN NULL ELSE started_at END, code = CASE claim_token WHEN 1 THEN NULL ELSE code END,
    server = CASE claim_token WHEN 1 THEN NULL ELSE server END, boot_id = CASE claim_token WHEN 1 THEN NULL ELSE boot_id END
WHERE id = :id AND state = 'running';

-- name: hold_key
-- Hold the first due runs of a group, of one workflow and key, so that later claims skip them.
UPDATE runs SET hold = :held
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE workflow = :workflow AND limit_key = :key AND state = 'pending' AND ready = 1 AND hold IS :hold AND worker_group = :group
    ORDER BY due_order, id
    LIMIT :limit
);

-- name: hold_rate
-- Hold the first due runs of a group, of one workflow and rate key, so that later claims skip them; runs that have begun are exempt.
UPDATE runs SET hold = :held
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE rate_key = :key AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold IS :hold
        AND worker_group = :group AND executed_ms = 0
    ORDER BY due_order, id
    LIMIT :limit
);

-- name: groups_of_key
-- The groups with runs of a workflow and key that are held for a reason; each group is looked up from the one before it.
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
-- The groups with runs of a workflow that are held for a reason; each group is looked up from the one before it.
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
-- Release those of the first due runs of a group, of one workflow and key, that are held for a reason.
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
-- The groups with runs of a workflow and rate key that are held for a reason; each group is looked up from the one before it.
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
-- Release those of the first due runs of a group, of one workflow and rate key, that are held for a reason.
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
-- Release the first due runs of a group, of one workflow, that are held for a reason.
UPDATE runs SET hold = :hold
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE limit_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND hold = :held
        AND worker_group = :group
    ORDER BY due_order, id
    LIMIT :free
);

-- name: select_keys
-- The limit keys of a run, if it has any.
SELECT workflow, limit_key, rate_key FROM runs WHERE id = :id AND limit_key IS NOT NULL;

-- name: select_keys_of_many
-- The limit keys of these runs, if they have any.
SELECT id, workflow, limit_key, rate_key FROM runs WHERE id IN (SELECT value FROM json_each(:ids)) AND limit_key IS NOT NULL;

-- name: workflows_held
-- The workflows that have held runs; each workflow is looked up from the one before it.
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
-- The workflows and keys that have runs held by a concurrency limit; only read when limits change.
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
-- The running runs with their limit keys; only read when limits change.
SELECT id, workflow, limit_key, rate_key, tenant,
    CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload
FROM runs WHERE state = 'running';

-- name: select_key_sources
-- The values from which the limit keys of a run are computed.
SELECT CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload,
    tenant, rate_key
FROM runs WHERE id = :id;

-- name: set_keys
-- Change the limit keys of a run, because its workflow has changed.
UPDATE runs SET limit_key = :limit_key, rate_key = :rate_key WHERE id = :id;

-- name: expect_start
-- Expect the start of a run with a rate: it was pushed to a worker, which reports when it begins.
INSERT OR REPLACE INTO starts (workflow, key, at, run_id) VALUES (:workflow, :key, 4611686018427387904, :id);

-- name: is_any_start_expected
-- Whether the start of any run is expected.
SELECT 1 FROM starts WHERE at = 4611686018427387904 LIMIT 1;

-- name: record_start
-- Record the start of a run whose start was expected.
UPDATE OR REPLACE starts SET at = :now WHERE workflow = :workflow AND at = 4611686018427387904 AND run_id = :id RETURNING key;

-- name: record_all_starts
-- Record all starts that were expected when the last daemon ended: those runs may have begun.
UPDATE OR REPLACE starts SET at = :now WHERE at = 4611686018427387904;

-- name: drop_expected_start
-- Drop the expected start of a run that never reached a worker.
DELETE FROM starts WHERE workflow = :workflow AND at = 4611686018427387904 AND run_id = :id RETURNING key;

-- name: count_starts
-- The number of runs of a workflow and key that began since a time or are expected to begin.
SELECT count(*) FROM starts WHERE workflow = :workflow AND key = :key AND at >= :since;

-- name: find_start
-- The start times of runs of a workflow and key since a time, from the n-th on.
SELECT at FROM starts WHERE workflow = :workflow AND key = :key AND at >= :since ORDER BY at LIMIT 1 OFFSET :skip;

-- name: drop_starts
-- Delete the starts that are older than the period of a rate.
DELETE FROM starts WHERE workflow = :workflow AND at < :before;

-- name: drop_starts_of_others
-- Delete the starts of workflows that no longer have a rate.
DELETE FROM starts WHERE workflow NOT IN (SELECT value FROM json_each(:workflows));

-- name: clamp_future_starts
-- Move future starts to now, after the clock was set back.
UPDATE OR REPLACE starts SET at = :now
WHERE workflow = :workflow AND key = :key AND at > :now AND at < 4611686018427387904;

-- name: find_pace
-- When the next run of a workflow and key would begin if all starts were spaced evenly.
SELECT even_at FROM paces WHERE workflow = :workflow AND key = :key;

-- name: set_pace
-- Record when the next run of a workflow and key would begin if all starts were spaced evenly.
INSERT INTO paces (workflow, key, even_at) VALUES (:workflow, :key, :even_at)
ON CONFLICT (workflow, key) DO UPDATE SET even_at = excluded.even_at;

-- name: set_free_at
-- Record until when runs of a workflow and key are held; null if none is held, or if the time is not known yet.
INSERT INTO paces (workflow, key, even_at, free_at) VALUES (:workflow, :key, 0, :free_at)
ON CONFLICT (workflow, key) DO UPDATE SET free_at = excluded.free_at;

-- name: drop_paces
-- Delete the pace of workflows and keys without recent starts: their next run may begin at once.
DELETE FROM paces WHERE workflow = :workflow AND even_at < :before AND free_at IS NULL;

-- name: drop_paces_of_others
-- Delete the paces of workflows that are not in a list.
DELETE FROM paces WHERE workflow NOT IN (SELECT value FROM json_each(:workflows));

-- name: select_due_paces
-- The workflows and keys with a held run that may begin now.
SELECT workflow, key FROM paces WHERE free_at <= :now ORDER BY free_at LIMIT :limit;

-- name: next_free_at
-- The earliest time at which a run that is held by a rate may begin.
SELECT min(free_at) FROM paces WHERE free_at IS NOT NULL;

-- name: rate_keys_held
-- The workflows and rate keys that have due runs held by a rate; only read when limits change.
SELECT DISTINCT workflow, rate_key AS key FROM runs
WHERE rate_key IS NOT NULL AND state = 'pending' AND ready = 1 AND workflow = :workflow AND (hold = 'rate' OR hold = 'suspect_rate');
