-- name: record
-- Record how the attempt ended that was made under a claim. `charged` is 1 if the run has counted it already.
INSERT INTO attempts
    (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid, error, fingerprint)
SELECT id, :token::bigint, '', attempts + 1 - :charged::integer, :kind::text, coalesce(claimed_at, :now::bigint), :now::bigint,
    greatest(:now::bigint - coalesce(claimed_at, :now::bigint), 0), server, :pid::integer, :error::text, :fingerprint::text
FROM runs WHERE id = :id
ON CONFLICT DO NOTHING;

-- name: record_interrupted
-- Record for many runs that the attempt of their last claim was interrupted, uncharged.
INSERT INTO attempts (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server)
SELECT id, claim_token, '', attempts + 1, 'interrupted', coalesce(claimed_at, :now::bigint), :now::bigint,
    greatest(:now::bigint - coalesce(claimed_at, :now::bigint), 0), server
FROM runs WHERE id IN (SELECT value FROM json_array_elements_text(:ids::json))
ON CONFLICT DO NOTHING;

-- name: record_success
-- Record the attempt with which a run succeeded whose earlier attempts are recorded.
INSERT INTO attempts (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid)
SELECT runs.id, new.token, '', attempts, 'succeeded', coalesce(claimed_at, new.now), new.now,
    greatest(new.now - coalesce(claimed_at, new.now), 0), server, new.pid
FROM unnest(:id::text[], :token::bigint[], :pid::integer[], :now::bigint[]) AS new (id, token, pid, now)
JOIN runs ON runs.id = new.id AND claim_token = new.token
WHERE EXISTS (SELECT 1 FROM attempts AS earlier WHERE earlier.run_id = new.id)
ON CONFLICT DO NOTHING;

-- name: record_try
-- Record a try of a step of a claimed run.
INSERT INTO attempts
    (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid, error)
SELECT runs.id, new.token, new.step, new.number, new.kind, new.started_at, new.ended_at,
    greatest(new.ended_at - new.started_at, 0), server, new.pid, new.error
FROM unnest(:run_id::text[], :token::bigint[], :step::text[], :number::integer[], :kind::text[], :started_at::bigint[],
            :ended_at::bigint[], :pid::integer[], :error::text[])
    AS new (run_id, token, step, number, kind, started_at, ended_at, pid, error)
JOIN runs ON runs.id = new.run_id AND claim_token = new.token AND boot_id = :boot_id AND state = 'running'
ON CONFLICT DO NOTHING;

-- name: delete_oldest
-- Delete all but the newest `most` attempts of a run, or tries of a step.
DELETE FROM attempts
WHERE run_id = :run_id AND step = :step AND (claim_token, number) <= (
    SELECT claim_token, number FROM attempts WHERE run_id = :run_id AND step = :step
    ORDER BY claim_token DESC, number DESC LIMIT 1 OFFSET :most
);

-- name: select
-- The history of a run.
SELECT step, number, kind, started_at, ended_at, executed_ms, server, worker_pid, error FROM attempts
WHERE run_id = :run_id ORDER BY ended_at, claim_token, number;

-- name: delete
-- Delete the history of a deleted run.
DELETE FROM attempts WHERE run_id = ANY (:id::text[]);
