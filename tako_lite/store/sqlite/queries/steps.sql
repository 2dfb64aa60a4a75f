-- name: save
-- The outcome of a step of a claimed run; a succeeded one stays as it is.
INSERT INTO steps (run_id, name, kind, state, result, error, attempts, started_at, finished_at)
SELECT ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
WHERE EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND claim_token = ?2 AND state = 'running')
ON CONFLICT (run_id, name) DO UPDATE
SET state = excluded.state, result = excluded.result, error = excluded.error, attempts = excluded.attempts,
    finished_at = excluded.finished_at
WHERE steps.state = 'failed';

-- name: settle
-- The outcome of a wait; a succeeded step stays as it is.
INSERT INTO steps (run_id, name, kind, state, result, error, attempts, started_at, finished_at)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)
ON CONFLICT (run_id, name) DO UPDATE
SET state = excluded.state, result = excluded.result, error = excluded.error, finished_at = excluded.finished_at
WHERE steps.state = 'failed';

-- name: get
-- One stored step: its state, its value or error, and how often it was tried.
SELECT state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE ifnull(result, error) END,
    attempts
FROM steps WHERE run_id = ? AND name = ?;

-- name: of_run
-- What a claimed run has stored, for its worker.
SELECT name, state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE ifnull(result, error) END,
    attempts
FROM steps WHERE run_id = ? ORDER BY finished_at;

-- name: list
-- What a run has stored, for people.
SELECT name, state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name)
    ELSE result END,
    attempts, started_at, finished_at, error
FROM steps WHERE run_id = ? ORDER BY finished_at, started_at;

-- name: forget
-- A run that starts over fresh has no steps.
DELETE FROM steps WHERE run_id = ?;

-- name: forget_failed_children
-- A new attempt invokes again what failed.
DELETE FROM steps WHERE run_id = ? AND kind = 'child' AND state = 'failed';

-- name: forget_large
-- The long values of the steps of a run go.
DELETE FROM large_values WHERE run_id = ? AND kind LIKE 'step:%';

-- name: add_wait
-- A claimed run waits; a wait that was there before keeps its time.
INSERT INTO waits (run_id, name, kind, key, wake_at, started_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: wait
-- One wait.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE run_id = ? AND name = ?;

-- name: waits_of
-- The waits of a run.
SELECT name, kind, key, wake_at FROM waits WHERE run_id = ? ORDER BY started_at, name;

-- name: waits_for
-- The waits for a signal or for a child.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE kind = ? AND key = ?;

-- name: own_children
-- The runs that a run started and waits for.
SELECT waits.key FROM waits JOIN runs ON runs.id = waits.key
WHERE waits.run_id = ? AND waits.kind = 'child' AND waits.key IS NOT NULL AND runs.parent = waits.run_id;

-- name: any_wait
-- Whether any run waits.
SELECT 1 FROM waits WHERE run_id > '' LIMIT 1;

-- name: any_child_wait
-- Whether any run waits for a child.
SELECT 1 FROM waits WHERE kind = 'child' AND key IS NOT NULL LIMIT 1;

-- name: waits_due
-- The waits whose time has come.
SELECT run_id, name, kind, key, wake_at, started_at FROM waits WHERE wake_at <= ? ORDER BY wake_at LIMIT ?;

-- name: next_wait
-- When the next wait is over by itself.
SELECT min(wake_at) FROM waits WHERE wake_at IS NOT NULL;

-- name: drop_wait
-- A wait is over.
DELETE FROM waits WHERE run_id = ? AND name = ?;

-- name: drop_waits
-- A run waits no more.
DELETE FROM waits WHERE run_id = ?;

-- name: outcome
-- How a run ended, if it did.
SELECT state,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'result') ELSE result END,
    CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END
FROM runs WHERE id = ? AND state IN ('succeeded', 'cancelled', 'dead');

-- name: has_steps
-- The runs among these that have stored steps.
SELECT DISTINCT run_id FROM steps WHERE run_id IN (SELECT value FROM json_each(?));
