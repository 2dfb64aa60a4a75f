-- name: put
-- A trigger as the catalog has it; its cursor and its pause stay, and it is due after its new time at the latest.
INSERT INTO triggers (name, worker_group, starts, every_ms, next_at) VALUES (:name, :group, :starts, :every_ms, :now)
ON CONFLICT (name) DO UPDATE
SET worker_group = excluded.worker_group, starts = excluded.starts, every_ms = excluded.every_ms,
    next_at = min(next_at, :now + excluded.every_ms), active = 1;

-- name: retire
-- Triggers that are no longer in the catalog are not evaluated; their cursor stays.
UPDATE triggers SET active = 0 WHERE name NOT IN (SELECT value FROM json_each(:names));

-- name: select_due
-- When each trigger is due that is neither paused nor being evaluated.
SELECT name, next_at FROM triggers WHERE active = 1 AND paused = 0 AND evaluation IS NULL;

-- name: begin_evaluation
-- A due trigger is being evaluated from now on, by one run alone; `by_hand` asks neither for its time nor for its pause.
UPDATE triggers SET evaluation = :id
WHERE name = :name AND active = 1 AND evaluation IS NULL
    AND (:by_hand = 1 OR (paused = 0 AND (next_at <= :now OR next_at > :now + every_ms)))
RETURNING cursor;

-- name: end_evaluation
-- An evaluation found something, or nothing: its trigger goes on from another cursor.
UPDATE triggers
SET evaluation = NULL, cursor = :cursor, next_at = :now + every_ms, evaluated_at = :now, started = started + :started, error = NULL
WHERE evaluation = :id;

-- name: fail_evaluation
-- An evaluation ended otherwise: its trigger is tried again from the same cursor.
UPDATE triggers
SET evaluation = NULL, next_at = :now + every_ms, evaluated_at = :now,
    error = (
        SELECT CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END
        FROM runs WHERE id = :id
    )
WHERE evaluation = :id;

-- name: withdraw_evaluation
-- An evaluation came to nothing: its trigger is due as it was.
UPDATE triggers SET evaluation = NULL WHERE evaluation = :id;

-- name: select_evaluations
-- The evaluations under way, and how far each of them is.
SELECT runs.id, runs.state, triggers.name AS trigger FROM triggers JOIN runs ON runs.id = triggers.evaluation
WHERE triggers.evaluation IS NOT NULL;

-- name: delete_run
-- The run of an evaluation goes: it is no run of a user's.
DELETE FROM runs WHERE id = :id;

-- name: set_paused
-- A trigger is paused, or goes on.
UPDATE triggers SET paused = :paused WHERE name = :name AND active = 1;

-- name: select
-- Every trigger of the catalog, with the state of its evaluation.
SELECT name, worker_group AS "group", starts, every_ms, cursor, next_at, evaluated_at, started, error, paused,
    (SELECT state FROM runs WHERE id = triggers.evaluation) AS evaluation
FROM triggers WHERE active = 1 ORDER BY name;
