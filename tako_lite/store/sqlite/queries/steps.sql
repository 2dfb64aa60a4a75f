-- name: save
-- Store the outcome of a step of a claimed run; a succeeded step is unchanged.
INSERT INTO steps (run_id, name, kind, state, result, error, attempts, started_at, finished_at)
SELECT :run_id, :name, :kind, :state, :value, :error, :tries, :started_at, :finished_at
WHERE EXISTS (SELECT 1 FROM runs WHERE id = :run_id AND claim_token = :token AND state = 'running')
ON CONFLICT (run_id, name) DO UPDATE
SET state = excluded.state, result = excluded.result, error = excluded.error, attempts = excluded.attempts,
    finished_at = excluded.finished_at
WHERE steps.state = 'failed';

-- name: settle
-- Store the outcome of a wait; a succeeded step is unchanged.
INSERT INTO steps (run_id, name, kind, state, result, error, attempts, started_at, finished_at)
VALUES (:run_id, :name, :kind, :state, :value, :error, 1, :started_at, :now)
ON CONFLICT (run_id, name) DO UPDATE
SET state = excluded.state, result = excluded.result, error = excluded.error, finished_at = excluded.finished_at
WHERE steps.state = 'failed';

-- name: find
-- One stored step: its state, its value or error, and its number of tries.
SELECT state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE ifnull(result, error) END AS text,
    attempts AS tries
FROM steps WHERE run_id = :run_id AND name = :name;

-- name: select_for_worker
-- The stored steps of a claimed run, for its worker.
SELECT name, state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE ifnull(result, error) END AS text,
    attempts AS tries
FROM steps WHERE run_id = :run_id ORDER BY finished_at;

-- name: select_for_show
-- The stored steps of a run, for display.
SELECT name, kind, state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE result END AS result,
    attempts, started_at, finished_at, error
FROM steps WHERE run_id = :run_id ORDER BY finished_at, started_at;

-- name: delete_all
-- Delete the steps of a run that starts over fresh.
DELETE FROM steps WHERE run_id = :run_id;

-- name: delete_failed_children
-- Delete the failed child steps of a run, so that a new attempt invokes the children again.
DELETE FROM steps WHERE run_id = :run_id AND kind = 'child' AND state = 'failed';

-- name: delete_large
-- Delete the long values of the steps of a run.
DELETE FROM large_values WHERE run_id = :run_id AND kind LIKE 'step:%';

-- name: add_wait
-- Store a wait of a claimed run; a wait that exists keeps its time.
INSERT INTO waits (run_id, name, kind, key, wake_at, started_at) VALUES (:run_id, :name, :kind, :key, :wake_at, :now)
ON CONFLICT DO NOTHING;

-- name: find_wait
-- One wait.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE run_id = :run_id AND name = :name;

-- name: select_waits
-- The waits of a run.
SELECT name, kind, key, wake_at, started_at FROM waits WHERE run_id = :run_id ORDER BY started_at, name;

-- name: select_waits_for
-- The waits for a signal or for a child.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE kind = :kind AND key = :key;

-- name: select_children
-- The runs that a run started and waits for.
SELECT waits.key FROM waits JOIN runs ON runs.id = waits.key
WHERE waits.run_id = :run_id AND waits.kind = 'child' AND waits.key IS NOT NULL AND runs.parent = waits.run_id;

-- name: is_any_wait
-- Whether any run waits.
SELECT 1 FROM waits WHERE run_id > '' LIMIT 1;

-- name: is_any_child_wait
-- Whether any run waits for a child.
SELECT 1 FROM waits WHERE kind = 'child' AND key IS NOT NULL LIMIT 1;

-- name: select_due_waits
-- The waits whose time has come.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE wake_at <= :now ORDER BY wake_at LIMIT :limit;

-- name: next_wake_at
-- When the next timed wait ends.
SELECT min(wake_at) FROM waits WHERE wake_at IS NOT NULL;

-- name: delete_wait
-- Delete a wait that ended.
DELETE FROM waits WHERE run_id = :run_id AND name = :name;

-- name: delete_waits
-- Delete the waits of a run.
DELETE FROM waits WHERE run_id = :run_id;

-- name: find_outcome
-- The outcome of a run, if it has ended.
SELECT state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'result') ELSE result END
        AS result,
    CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END
        AS error
FROM runs WHERE id = :id AND state IN ('succeeded', 'cancelled', 'dead');

-- name: select_having_steps
-- The runs among these that have stored steps.
SELECT DISTINCT run_id FROM steps WHERE run_id IN (SELECT value FROM json_each(:ids));

-- name: select_awaited
-- The runs among these that other runs wait for.
SELECT DISTINCT key FROM waits WHERE kind = 'child' AND key IN (SELECT value FROM json_each(:ids));
