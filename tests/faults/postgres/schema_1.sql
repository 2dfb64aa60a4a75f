-- What a program of the release that knew schema 1 alone sent to the database, as it was: enqueue, claim, step, end, re-queue.

-- name: insert_many
-- Insert runs that differ in id and payload only; existing ids are skipped.
INSERT INTO runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, parent, tenant, fallback,
                  fallback_source, limit_key, rate_key, trace, state, ready, due_order, created_at)
SELECT row ->> 0, :workflow, :group, :group_source, row ->> 1, :run_at::bigint, :priority::bigint, :max_attempts::integer,
    :parent::text, :tenant::text, :fallback::text, :fallback_source::text, :limit_key::text, :rate_key::text, :trace::text, 'pending',
    :run_at::bigint <= :due_by::bigint, :run_at::bigint - :priority::bigint * 1000, :now::bigint
FROM json_array_elements(:rows::json) AS row
ON CONFLICT DO NOTHING;

-- name: claim
-- Claim the first due runs of a group that is not paused, each with a new token; runs of tenants not in `allowed` end instead.
WITH picked AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND coalesce(hold, '') = coalesce(:hold::text, '') AND state = 'pending' AND ready
        AND NOT EXISTS (SELECT 1 FROM groups WHERE name = :group AND paused)
        AND NOT EXISTS (
            SELECT 1 FROM servers
            WHERE servers.boot_id = :boot_id AND (ended_at IS NOT NULL OR renewed_at + lease <= clock_timestamp())
        )
        AND workflow NOT IN (SELECT value FROM json_array_elements_text(:elsewhere::json))
    ORDER BY due_order, id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE runs
SET state = CASE
        WHEN :allowed::text IS NULL OR tenant IN (SELECT value FROM json_array_elements_text(:allowed::json)) THEN 'running'
        ELSE 'dead' END,
    claim_token = claim_token + 1, server = :server, boot_id = :boot_id, worker_pid = NULL,
    claimed_at = :now, started_at = coalesce(started_at, :now)
FROM picked WHERE runs.id = picked.id
RETURNING due_order, runs.id, workflow, claim_token AS token, attempts, max_attempts, crashes, executed_ms, parent, tenant,
    payload, state, limit_key, rate_key, greatest(run_at, coalesce(back_at, 0)) AS due_at, trace;

-- name: complete
-- End a claimed run as succeeded.
WITH done AS MATERIALIZED (
    SELECT new.id, new.result, new.pid, new.now
    FROM unnest(:id::text[], :token::bigint[], :result::text[], :pid::integer[], :now::bigint[]) AS new (id, token, result, pid, now)
    CROSS JOIN LATERAL (
        SELECT 1 FROM runs
        WHERE id = new.id AND claim_token = new.token AND boot_id = :boot_id AND state = 'running' LIMIT 1 FOR UPDATE
    ) AS held
)
UPDATE runs
SET state = 'succeeded', result = done.result, finished_at = done.now, worker_pid = done.pid, attempts = attempts + 1, hold = NULL,
    error = NULL, fingerprint = NULL
FROM done WHERE runs.id = done.id;

-- name: requeue
-- Re-queue a claimed run without charging an attempt; a suspect stays one.
UPDATE runs
SET state = 'pending', ready = true, back_at = :now, hold = coalesce(:hold::text, hold), worker_pid = NULL, executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested;

-- name: save
-- Store the outcome of a step of a claimed run; a succeeded step is unchanged.
WITH new AS (
    SELECT * FROM unnest(:run_id::text[], :token::bigint[], :name::text[], :kind::text[], :state::text[], :value::text[],
                         :error::text[], :tries::integer[], :started_at::bigint[], :finished_at::bigint[]) WITH ORDINALITY
        AS new (run_id, token, name, kind, state, value, error, tries, started_at, finished_at, place)
), claimed AS (
    SELECT new.* FROM new CROSS JOIN LATERAL (
        SELECT 1 FROM runs WHERE id = new.run_id AND claim_token = new.token AND boot_id = :boot_id AND state = 'running' LIMIT 1
    ) AS held
)
INSERT INTO steps (run_id, name, kind, state, result, error, attempts, started_at, finished_at)
SELECT DISTINCT ON (run_id, name) run_id, name, kind, state, value, error, tries, started_at, finished_at FROM claimed
ORDER BY run_id, name, state = 'failed', CASE state WHEN 'failed' THEN -place ELSE place END
ON CONFLICT (run_id, name) DO UPDATE
SET state = excluded.state, result = excluded.result, error = excluded.error, attempts = excluded.attempts,
    finished_at = excluded.finished_at
WHERE steps.state = 'failed';

-- name: select_steps
-- The stored steps of a claimed run, for its worker.
SELECT name, state,
    coalesce(result, error) AS text,
    attempts AS tries
FROM steps WHERE run_id = :run_id ORDER BY finished_at;
