-- name: record
-- Record how the attempt ended that was made under a claim. `charged` is 1 if the run has counted it already.
INSERT OR IGNORE INTO attempts
    (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid, error, fingerprint)
SELECT id, :token, '', attempts + 1 - :charged, :kind, ifnull(claimed_at, :now), :now, max(:now - ifnull(claimed_at, :now), 0),
    server, :pid, :error, :fingerprint
FROM runs WHERE id = :id;

-- name: record_interrupted
-- Record for many runs that the attempt of their last claim was interrupted, uncharged.
INSERT OR IGNORE INTO attempts (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server)
SELECT id, claim_token, '', attempts + 1, 'interrupted', ifnull(claimed_at, :now), :now, max(:now - ifnull(claimed_at, :now), 0), server
FROM runs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: record_success
-- Record the attempt with which a run succeeded whose earlier attempts are recorded.
INSERT OR IGNORE INTO attempts (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid)
SELECT id, :token, '', attempts, 'succeeded', ifnull(claimed_at, :now), :now, max(:now - ifnull(claimed_at, :now), 0), server, :pid
FROM runs WHERE id = :id AND claim_token = :token AND EXISTS (SELECT 1 FROM attempts WHERE run_id = :id);

-- name: record_try
-- Record a try of a step of a claimed run.
INSERT OR IGNORE INTO attempts
    (run_id, claim_token, step, number, kind, started_at, ended_at, executed_ms, server, worker_pid, error)
SELECT id, :token, :step, :number, :kind, :started_at, :ended_at, max(:ended_at - :started_at, 0), server, :pid, :error
FROM runs WHERE id = :run_id AND claim_token = :token AND state = 'running';

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
DELETE FROM attempts WHERE run_id = :id;
